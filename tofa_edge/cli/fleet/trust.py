"""The commands of signatures: keygen, sign, rotate and revoke on the host, accept on devices."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tofa_edge.cli.app import BundlePath, Force, Json, app
from tofa_edge.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from tofa_edge.trust.statements import BundleStatement

Keys = Annotated[
    list[Path], typer.Option("--key", metavar="FILE", help="A private key; several sign together.")
]
Counter = Annotated[int, typer.Option(min=0, help="Greater than that of the one before.")]
DAY_S = 86_400


@app.command()
def keygen(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="Writes NAME.key and NAME.pub.")],
) -> None:
    """Makes an Ed25519 key: NAME.key signs and stays secret, NAME.pub goes to devices.

    NAME.key is not encrypted: keep it where few can read it, and never on a device.
    """
    from tofa_edge.trust.keys import generate_key

    private, public = (name.with_name(f"{name.name}.{end}") for end in ("key", "pub"))
    text = generate_key(private, public)
    print_lines([f"wrote {private} and {public}: {text}"])


@app.command()
def sign(
    bundle: BundlePath,
    key: Keys,
    name: Annotated[str | None, typer.Option(help="Of the product; all releases share it.")] = None,
    counter: Annotated[int | None, typer.Option(min=0, help="Grows with each release.")] = None,
    channel: Annotated[str, typer.Option(help="That the bundle is for.")] = "stable",
    expires: Annotated[
        str | None, typer.Option(metavar="DATE", help="Not opened from this day on (YYYY-MM-DD).")
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Add signatures; what was signed stays as it is.")
    ] = False,
    force: Force = False,
) -> None:
    """Signs a bundle: writes BUNDLE.dsse, which goes to devices beside it.

    A bundle that is not whole is not signed.
    """
    from tofa_edge.bundle.bundle import Bundle
    from tofa_edge.trust.sign import add_signatures, write_signed
    from tofa_edge.trust.statements import BundleStatement
    from tofa_edge.trust.trust import envelope_path

    place, opened = envelope_path(bundle), Bundle.open(bundle)
    opened.verify()
    if add:
        if name is not None or counter is not None or expires is not None:
            raise typer.BadParameter("--add keeps what was signed: leave out what it says")
        statement = add_signatures(place, opened.digest, key)
    else:
        if name is None or counter is None:
            raise typer.BadParameter("a new signature wants --name and --counter")
        about = name, opened.digest, counter, channel, int(time.time())
        statement = BundleStatement(*about, _seconds(expires))
        write_signed(place, statement, key, force)
    print_lines([f"wrote {place}: {opened.digest}", f"signed: {_described(statement)}"])


@app.command()
def rotate(
    out_path: Annotated[Path, typer.Argument(metavar="OUT", help="The statement to write.")],
    key: Keys,
    to: Annotated[
        list[Path], typer.Option("--to", metavar="FILE", help="A public key from now on.")
    ],
    counter: Counter,
    threshold: Annotated[int, typer.Option(min=1, help="How many of them must sign.")] = 1,
    force: Force = False,
) -> None:
    """Signs, with keys that count now, which keys count from now on (accept, on devices).

    The counter is 1 for the first change after the policy, 2 for the next; no one may be left out.
    """
    from tofa_edge.trust.keys import read_public
    from tofa_edge.trust.sign import write_signed
    from tofa_edge.trust.statements import KeyStatement

    keys = tuple(read_public(path) for path in to)
    statement = KeyStatement(keys, threshold, counter, int(time.time()))
    write_signed(out_path, statement, key, force)
    print_lines([f"wrote {out_path}: {len(keys)} keys from now on, {threshold} must sign"])


@app.command()
def revoke(
    out_path: Annotated[Path, typer.Argument(metavar="OUT", help="The deny-list to write.")],
    key: Keys,
    digest: Annotated[list[str], typer.Option(help="Of a bundle's manifest, as inspect shows it.")],
    counter: Counter,
    former: Annotated[
        Path | None, typer.Option(help="The list before: what it revokes stays revoked.")
    ] = None,
    force: Force = False,
) -> None:
    """Signs a list of bundles that no device may open any more (accept, on devices).

    A list replaces the one before.
    """
    from tofa_edge.trust.sign import listed, write_signed
    from tofa_edge.trust.statements import DenyList

    before = () if former is None else listed(former).digests
    digests = tuple(dict.fromkeys((*before, *digest)))
    write_signed(out_path, DenyList(digests, counter, int(time.time())), key, force)
    print_lines([f"wrote {out_path}: {len(digests)} bundles revoked"])


@app.command()
def accept(
    envelope: Annotated[Path, typer.Argument(metavar="FILE", help="Of rotate or revoke.")],
    as_json: Json = False,
) -> None:
    """Accepts new keys or a new deny-list on this device, if its policy's keys have signed them.

    What was remembered of revoked bundles is dropped from this user's cache.
    """
    from tofa_edge.errors import TrustError
    from tofa_edge.fleet.revoked import forget_bundles
    from tofa_edge.trust.policy import SYSTEM, this_device
    from tofa_edge.trust.statements import DenyList

    device = this_device()
    if device is None:
        raise TrustError(f"this device has no policy; write {SYSTEM} first (docs/trust.md)")
    accepted = device.accept(envelope)
    dropped = 0
    if isinstance(accepted, DenyList):
        dropped = forget_bundles(frozenset(accepted.digests))
        line = f"{len(accepted.digests)} bundles are revoked; dropped {dropped} remembered choices"
    else:
        line = f"{len(accepted.keys)} keys count from now on, {accepted.threshold} must sign"
    if as_json:
        print_json({"kind": accepted.KIND, "counter": accepted.counter, "dropped": dropped})
    else:
        print_lines([line])


def _described(statement: BundleStatement) -> str:
    from tofa_edge.trust.trust import date_of

    until = "never" if statement.expires_s is None else date_of(statement.expires_s)
    about = f"{statement.name}, counter {statement.counter}, channel {statement.channel}"
    return f"{about}, signed {date_of(statement.signed_s)}, expires {until}"


def _seconds(day: str | None) -> int | None:
    """Returns the beginning of a day in UTC, in seconds since 1970."""
    if day is None:
        return None
    try:
        found = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise typer.BadParameter(f"wanted a date such as 2027-12-31, got {day!r}") from error
    return int(found.timestamp()) // DAY_S * DAY_S
