"""`python -m tofa_edge.fleet.trial_process`: deploys a new bundle, judges it, and reports.

What to do comes as JSON on the standard input (`trial.TrialOrder`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment.check import accuracy_deviation, contradiction
from tofa_edge.deployment.request import DeployOptions
from tofa_edge.errors import TofaError
from tofa_edge.fleet.judge import frames_refusal, not_finite, paired
from tofa_edge.fleet.trial import TrialOrder, TrialReport, short
from tofa_edge.live.deploy import deploy
from tofa_edge.serving.model import Model
from tofa_edge.storage.plain import from_plain, to_plain

WATCH_S = 1.0


class _RefusedError(Exception):
    """Why a bundle is refused."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Tries a bundle and reports.

    Args:
        arguments: of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=int, required=True, help="a file descriptor")
    descriptor = parser.parse_args(arguments).report
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    order = from_plain(TrialOrder, json.load(sys.stdin))
    with os.fdopen(descriptor, "w") as report:
        json.dump(to_plain(tried(order)), report)


def tried(order: TrialOrder) -> TrialReport:
    """Returns how the trial of an `order` ended."""
    notes: list[str] = []
    try:
        network = _tried(order, notes)
    except (_RefusedError, TofaError) as error:
        return TrialReport(short(error), notes=tuple(notes))
    except MemoryError:
        return TrialReport("its trial ran out of memory", notes=tuple(notes))
    return TrialReport(network=short(network), notes=tuple(notes))


def _tried(order: TrialOrder, notes: list[str]) -> str:
    """Returns the network chosen; raises why the bundle is refused, in the order of the checks."""
    bundle = Bundle.open(order.bundle)
    if bundle.digest != order.digest:
        raise _RefusedError("it was changed while it was tried")
    bundle.verify()
    options = DeployOptions(order.backend, order.threads, order.precision)
    with deploy(bundle, budget=order.budget, options=options) as model:
        running = _running(order, options, notes)
        try:
            _check_classes(order, model, running)
            _check_accuracy(order, bundle, model, running, notes)
        finally:
            if running is not None:
                running[1].close()
        return str(model.explanation.chosen or model)


def _running(
    order: TrialOrder, options: DeployOptions, notes: list[str]
) -> tuple[Bundle, Model] | None:
    """Returns the active bundle and its network; None where there is none that works."""
    if order.running is None:
        return None
    try:
        bundle = Bundle.open(order.running)
        return bundle, deploy(bundle, budget=order.budget, options=options)
    except TofaError as error:
        notes.append(short(f"the active bundle cannot be compared with: {error}"))
        return None


def _check_classes(order: TrialOrder, model: Model, running: tuple[Bundle, Model] | None) -> None:
    if running is None or order.new_classes:
        return
    before, after = set(running[0].classes), set(model.classes)
    if before != after:
        changed = ", ".join(sorted(before ^ after)[:5])
        raise _RefusedError(
            f"its classes are not those of the active bundle ({changed}); --new-classes if that is "
            "meant"
        )


def _check_accuracy(
    order: TrialOrder,
    bundle: Bundle,
    model: Model,
    running: tuple[Bundle, Model] | None,
    notes: list[str],
) -> None:
    """Judges a network by the photos and frames that there are."""
    judged = _by_photos(order, bundle, model, running, notes)
    if order.frames:
        frames = [Path(path) for path in order.frames]
        after = _named(model, frames)
        same = running is not None and set(running[0].classes) == set(model.classes)
        before = _named(running[1], frames) if running is not None and same else []
        if order.gate and (reason := frames_refusal(before, after)):
            raise _RefusedError(reason)
        notes.append(f"{len(after)} canary frames were predicted")
        judged = True
    if order.gate and not judged:
        raise _RefusedError(
            "nothing tells how accurate it is: neither bundle has check photos; give --frames, or "
            "--no-gate"
        )
    if not order.gate:
        notes.append("accuracy was not judged: --no-gate")


def _by_photos(
    order: TrialOrder,
    bundle: Bundle,
    model: Model,
    running: tuple[Bundle, Model] | None,
    notes: list[str],
) -> bool:
    """Judges by labelled photos; returns whether there were any."""
    judged = False
    if running is not None and set(running[0].classes) == set(bundle.classes):
        photos, other = running
        if photos.check_count:
            after, labels = _on_photos(model, photos)
            before, _ = _on_photos(other, photos)
            found = paired(before, after, [photos.classes[index] for index in labels])
            notes.append(f"paired test on the active bundle's check photos: {found}")
            judged = True
            if order.gate and found.refusal:
                raise _RefusedError(found.refusal)
    if bundle.check_count:
        after, labels = _on_photos(model, bundle)
        right = sum(
            name == bundle.classes[index] for name, index in zip(after, labels, strict=True)
        )
        notes.append(f"{right} of {len(labels)} of its own check photos are right")
        if order.gate and (reason := _contradicted(bundle, model, right, labels)):
            raise _RefusedError(reason)
        judged = True
    return judged


def _contradicted(bundle: Bundle, model: Model, right: int, labels: Sequence[int]) -> str:
    chosen, predictor = model.explanation.chosen, bundle.accuracy_predictor()
    known = chosen is not None and model.explanation.predicts_accuracy
    expected = chosen.accuracy if chosen is not None and known else None
    deviation = accuracy_deviation(predictor, bundle.space, model.subnet)
    return contradiction(right, np.array(labels, np.int64), expected, deviation)


def _on_photos(model: Model, bundle: Bundle) -> tuple[list[str], list[int]]:
    """Returns what a network names a bundle's check photos, and their labels."""
    images, labels = bundle.check_images(model.input_size)
    return _named(model, images), [int(label) for label in labels]


def _named(model: Model, images: Sequence[Path] | ImageArray) -> list[str]:
    predictions = [model(image) for image in images]
    if reason := not_finite(predictions):
        raise _RefusedError(reason)
    return [each.label for each in predictions]


def _end_with_parent(parent: int) -> None:
    """Ends this process once the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)


if __name__ == "__main__":
    main()
