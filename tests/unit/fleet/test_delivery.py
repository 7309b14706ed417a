"""Of a new bundle only what the device does not have travels, and all of it has its signed hash."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.unit.fleet.conftest import BY_REFERENCE
from tests.unit.fleet.making import right_bundle
from tests.unit.trust.signing import Keys, signed
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BundleError, InstallError, TrustError
from tofa_edge.fleet.delivery import ARRIVED, _member, delivered, publish
from tofa_edge.fleet.install import install, install_delivered
from tofa_edge.fleet.proving import mark_good, status
from tofa_edge.fleet.slots import Slots
from tofa_edge.trust.trust import Trust


@dataclass
class Server:
    """Serves a folder by HTTP, and ends answers early as often as it is told."""

    folder: Path
    address: str = ""
    cuts: int = 0  # answers still to be ended early
    ranges: bool = True
    redirected: str = ""  # to another place, whatever is asked for
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    about = Server(tmp_path / "published")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if about.redirected:
                self.send_response(302)
                self.send_header("Location", about.redirected)
                self.end_headers()
                return
            content = (about.folder / self.path.lstrip("/")).read_bytes()
            begin = 0
            asked = self.headers.get("Range", "")
            if about.ranges and asked:
                begin = int(asked.removeprefix("bytes=").rstrip("-"))
            about.asked.append(f"{self.path} {begin}")
            rest = content[begin:]
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if about.cuts and len(rest) > 100 and "members" in self.path:
                about.cuts -= 1
                rest = rest[: len(rest) // 2]
            self.wfile.write(rest)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        about.address = f"http://127.0.0.1:{made.server_address[1]}"
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield about
        made.shutdown()
        thread.join()


@dataclass(frozen=True)
class Place:
    """A device with a bundle, and a newer one published elsewhere.

    Attributes:
        slots: of the device.
        published: path of the newer one's manifest.
        newer: the newer bundle.
        trust: of the device.
    """

    slots: Slots
    published: Path
    newer: Path
    trust: Trust


@pytest.fixture
def place(tmp_path: Path, bundles: dict[str, Path], known_engines: Path) -> Place:
    keys = Keys.made(tmp_path / "keys", "fleet", "stranger")
    trust, folder = Trust(keys.publics("fleet")), tmp_path / "published"
    older, newer = tmp_path / "older.tofa", tmp_path / "newer.tofa"
    for counter, (path, name) in enumerate(((older, "first"), (newer, "second")), 1):
        path.write_bytes(bundles[name].read_bytes())
        signed(path, keys.of("fleet"), counter=counter)
    slots = Slots(tmp_path / "slots")
    install(older, slots.folder, BY_REFERENCE, trust)
    mark_good(slots.folder, Bundle.open(older).digest)
    publish(newer, folder)
    return Place(slots, folder / "newer.manifest.json", newer, trust)


def test_only_what_is_new_travels(place: Place) -> None:
    """The two bundles differ in provenance and calibration photos."""
    installed, found = install_delivered(
        str(place.published), place.slots.folder, BY_REFERENCE, place.trust
    )
    newer = Bundle.open(place.newer)
    assert installed.digest == newer.digest == Bundle.open(place.slots.link).digest
    assert installed.counter == 2
    weights = newer.member_sizes["weights.safetensors"]
    assert found.kept_bytes > weights > found.arrived_bytes
    left = {path.name for path in place.slots.folder.iterdir()}
    assert "delivered.tofa" not in left
    assert ARRIVED not in left


def test_the_bundle_is_the_same_byte_for_byte(place: Place) -> None:
    found = delivered(str(place.published), place.slots, place.trust)
    assert found.bundle.read_bytes() == place.newer.read_bytes()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_transfer_that_broke_goes_on(place: Place, server: Server, ranges: bool) -> None:
    empty = Slots(place.slots.folder.with_name("empty"))
    empty.folder.mkdir()
    server.cuts, server.ranges = 4, ranges
    url = f"{server.address}/newer.manifest.json"
    if not ranges:
        with pytest.raises(InstallError, match="try again, and it goes on"):
            delivered(url, empty, place.trust)
        server.cuts = 0
    found = delivered(url, empty, place.trust)
    assert found.bundle.read_bytes() == place.newer.read_bytes()
    begins = [int(line.split()[1]) for line in server.asked]
    assert (max(begins) > 0) == ranges, "it goes on where it broke, if the server can"


def test_what_arrives_wrong_is_refused(place: Place, server: Server) -> None:
    empty = Slots(place.slots.folder.with_name("empty"))
    weights = Bundle.open(place.newer)._manifest.hashes["weights.safetensors"]
    member = server.folder / "members" / weights
    whole = member.read_bytes()
    for content in (whole[::-1], whole + b"more", whole[:-1]):
        member.write_bytes(content)
        if content[: len(whole)] == whole:
            assert delivered(str(place.published), empty, place.trust).arrived_bytes
            continue
        sources = (str(place.published), f"{server.address}/newer.manifest.json")
        for number, source in enumerate(sources):
            other = Slots(empty.folder.with_name(f"other-{len(content)}-{number}"))
            with pytest.raises(InstallError, match="cannot be fetched"):
                delivered(source, other, place.trust)
            assert not (other.folder / "delivered.tofa").exists()


@pytest.mark.parametrize("where", ["http://[::1/x", f"http://{'a' * 70}.b/", "file:///etc/passwd"])
def test_a_redirection_to_no_page_of_the_web_is_refused(
    tmp_path: Path, server: Server, where: str
) -> None:
    server.redirected = where
    with pytest.raises(InstallError, match="cannot be fetched"):
        _member(f"{server.address}/members/x", tmp_path / "member", "0" * 64, 10)


def test_a_manifest_that_is_not_signed_is_refused_before_it_is_read(place: Place) -> None:
    manifest = json.loads(place.published.read_text())
    manifest["provenance"] = {"changed": True}
    place.published.write_text(json.dumps(manifest))
    with pytest.raises(TrustError, match="it is of another bundle"):
        install_delivered(str(place.published), place.slots.folder, BY_REFERENCE, place.trust)
    told = status(place.slots.folder)["last_refusal"]
    assert isinstance(told, dict)
    assert "another bundle" in told["reason"]
    place.published.with_name("newer.manifest.json.dsse").unlink()
    with pytest.raises(InstallError, match="cannot be fetched"):
        install_delivered(str(place.published), place.slots.folder, BY_REFERENCE, place.trust)


def test_without_a_policy_or_a_signature_nothing_is_put_together(
    tmp_path: Path, place: Place
) -> None:
    with pytest.raises(InstallError, match="wants a policy"):
        install_delivered(str(place.published), place.slots.folder, BY_REFERENCE)
    unsigned = tmp_path / "unsigned.tofa"
    right_bundle(unsigned, checks=2)
    with pytest.raises(InstallError, match="wanted its envelope"):
        publish(unsigned, tmp_path / "out")
    with pytest.raises(BundleError):
        publish(tmp_path / "missing.tofa", tmp_path / "out")
