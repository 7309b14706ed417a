"""One network on one engine: all that is measured of it in this process."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.cost import layer_macs, value_elements
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.architecture.work import operator_name
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.suite.fields import heading, latency_fields, milliseconds, row_key
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES, Cutter
from tofa_edge.deployment.local_device import Finished, LocalDevice
from tofa_edge.deployment.measure import Stopwatches, reference_run, unexplained
from tofa_edge.deployment.trace import Trace
from tofa_edge.errors import TofaError
from tofa_edge.measurement.energy import Meter
from tofa_edge.measurement.order_statistics import curve, wilson
from tofa_edge.measurement.stopwatch import BLOCK, Recording, Run, Stopwatch
from tofa_edge.measurement.validity import LEAST_RUNS, invalid_reasons, snapshot
from tofa_edge.network.network import Network
from tofa_edge.selftest.calibrating import calibrating_among, calibrating_engine
from tofa_edge.selftest.golden import difference, reference_logits, specimen_images
from tofa_edge.serving.model import Model

DEPTHWISE = 8.0  # times as slow as dense multiply-accumulates, about, on every processor
LONG_BLOCK = 24  # runs after a visit of the reference are slower: few of many do not move p50
LAYERS_HOW = (
    "predicted: the median shared out by multiply-accumulates, those of depthwise kernels counted "
    "eight times, and by numbers written"
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured of a network.

    Attributes:
        runs: timed at least, where they take less than `most_seconds`.
        seconds: timed at least.
        most_seconds: after which the runs that bound the p95 are enough.
        most_runs: timed at most.
        batches: whose throughput is measured.
        batch_seconds: for each.
        photos: that the reference computes too.
        energy_seconds: of running, and of idling.
    """

    runs: int = 400
    seconds: float = 3.0
    most_seconds: float = 20.0
    most_runs: int = 4000
    batches: tuple[int, ...] = (1, 2, 4, 8, 16)
    batch_seconds: float = 0.5
    photos: int = 64
    energy_seconds: float = 5.0


QUICK = Effort(100, 0.8, 4.0, 600, (1, 4, 16), 0.2, 16, 1.0)
QUICK_POINT = replace(QUICK, seconds=0.5, batches=(), photos=8)


class OnceCutter(Cutter):
    """A cutter that calibrates a subnet once for all engines: the statistics are the same.

    Without photos, networks that are no finalists have stored statistics: they take as long.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self._kept: tuple[Subnet, int, Network] | None = None

    def network(
        self, subnet: Subnet, engine: Engine, most_images: int = CALIBRATION_IMAGES
    ) -> Network:
        """Returns a calibrated subnet as `Cutter.network` does; the last one is kept."""
        if not self.can_cut(subnet):
            return self.stored_network(subnet)
        if self._kept is None or self._kept[:2] != (subnet, most_images):
            network = super().network(subnet, engine, most_images)
            self._kept = (subnet, most_images, network)
        return self._kept[2]


class Measurer:
    """Measures networks of one bundle on this machine.

    Args:
        device: with a `OnceCutter`.
        reference: run between those of a network, see `Stopwatch`.
        alone: whether no other process measures.
        root: of the machine's files.

    Attributes:
        artefacts: of the engines' rows, by `row_key`.
    """

    def __init__(
        self, device: LocalDevice, reference: Run | None, alone: bool, root: Path = Path("/")
    ) -> None:
        self.device, self._reference, self._alone, self._root = device, reference, alone, root
        self.artefacts: dict[str, bytes] = {}
        self._expected: tuple[Subnet, int, FloatArray] | None = None

    @property
    def bundle(self) -> Bundle:
        """Whose networks it measures."""
        return self.device.cutter.bundle

    def row(self, role: str, subnet: Subnet, engine: Engine, effort: Effort) -> dict[str, Any]:
        """Returns a row as `result_schema.json` describes it; a failure is a row too.

        Args:
            role: "engine", "front" or "largest at lower resolution".
            subnet: which.
            engine: to run it.
            effort: how much to measure.
        """
        fields = heading(role, subnet, engine)
        fields["mmacs"] = round(sum(map(layer_macs, self._layers(subnet))) / 1e6, 3)
        try:
            finished = self.device.finish(subnet, engine)
        except TofaError as error:
            return fields | {"failed": str(error), "valid": False}
        with unexplained(self.bundle, finished.session, subnet, engine) as model:
            try:
                self._measure(fields, finished, model, effort)
                if role == "engine":
                    self.artefacts[row_key(fields)] = finished.artefact
            except TofaError as error:
                return heading(role, subnet, engine) | {"failed": str(error), "valid": False}
        return fields

    def _measure(
        self, fields: dict[str, Any], finished: Finished, model: Model, effort: Effort
    ) -> None:
        threads = finished.engine.target.threads
        image = specimen_images(model.input_size)[0]
        recording, reasons = self.recorded(lambda: model(image), threads, effort)
        fields |= {
            "valid": not reasons,
            "reasons": list(reasons),
            "latency": latency_fields(recording),
            "curve_ms": [[p, round(value, 4)] for p, value in curve(milliseconds(recording))],
            "throughput": [throughput(model, b, effort.batch_seconds) for b in effort.batches],
            "artefact_bytes": len(finished.artefact),
            "accuracy": self._accuracy(model),
            "parity": self._parity(finished, model, effort.photos),
            "layers": self._shares(model.subnet, recording.latency.observed_ms(50)),
            "layers_how": LAYERS_HOW,
        }
        meter = Meter.here(self._root)
        if meter is not None:
            fields["energy"] = meter.spent(lambda: model(image), effort.energy_seconds)
        if threads > 1:
            time.sleep(0.03)  # threads of a pool spin on after a run

    def recorded(self, run: Run, threads: int, effort: Effort) -> tuple[Recording, tuple[str, ...]]:
        """Returns the durations of a call, and why they are invalid.

        Args:
            run: predicts one image.
            threads: that it runs on.
            effort: how long to measure.
        """
        begun = time.perf_counter()
        for _ in range(3):
            run()
        each = (time.perf_counter() - begun) / 3
        least = int(np.clip(effort.most_seconds / each, LEAST_RUNS, effort.runs))
        stopwatch = Stopwatch(
            self._reference,
            least_runs=least,
            most_runs=max(least, effort.most_runs),
            seconds=effort.seconds,
            block=LONG_BLOCK,
        )
        before = snapshot(self._root)
        recording = stopwatch.record(run)
        reasons = invalid_reasons(before, snapshot(self._root), recording, threads)
        if not self._alone:
            reasons = (*reasons, "background load: another process measures")
        return recording, reasons

    def _layers(self, subnet: Subnet) -> Any:
        return layers(self.bundle.space, subnet)

    def _shares(self, subnet: Subnet, median_ms: float) -> list[dict[str, Any]]:
        network, rows = self._layers(subnet), []
        for layer in network:
            slower = DEPTHWISE if operator_name(layer).startswith("depthwise") else 1.0
            rows.append((layer, slower * layer_macs(layer) + DEPTHWISE * value_elements(layer)))
        whole = sum(work for _, work in rows) or 1.0
        return [
            {
                "name": layer.name,
                "mmacs": round(layer_macs(layer) / 1e6, 4),
                "ms": round(median_ms * work / whole, 5),
            }
            for layer, work in rows
            if work
        ]

    def _accuracy(self, model: Model) -> dict[str, Any] | None:
        images, labels = self.bundle.check_images(model.input_size)
        if not len(images):
            return None
        pairs = zip(images, labels, strict=True)
        right = int(sum(model(image).index == label for image, label in pairs))
        low, high = wilson(right, len(labels))
        return {"right": right, "of": len(labels), "low": low, "high": high}

    def _parity(self, finished: Finished, model: Model, photos: int) -> dict[str, Any]:
        """Compares with the reference; in integers, with it in the same integers, and in float."""
        drop = finished.measured.drop
        if drop is not None:
            same, of = drop.alike, drop.images
            return {"largest_difference": finished.difference, "same_class": same, "of": of}
        subnet = model.subnet
        images = self._photos(subnet.resolution, photos)
        if self._expected is None or self._expected[:2] != (subnet, photos):
            exact = self.device.cutter.network(subnet, calibrating_engine(self.bundle))
            self._expected = (subnet, photos, reference_logits(exact, images))
        expected = self._expected[2]
        logits = np.stack([model(image).logits for image in images])
        same = int((logits.argmax(axis=1) == expected.argmax(axis=1)).sum())
        largest = difference(logits, expected)
        return {"largest_difference": largest, "same_class": same, "of": len(images)}

    def _photos(self, size: int, most: int) -> Any:
        check, _ = self.bundle.check_images(size)
        if len(check):
            return check[:most]
        if self.device.cutter.can_calibrate():
            return self.device.cutter.images(size)[:most]
        return specimen_images(size, min(most, 8))


def measurer_of(bundle: Bundle, engines: list[Engine], alone: bool) -> Measurer:
    """Returns what measures networks of a bundle, whatever accuracy integers cost them.

    Args:
        bundle: opened.
        engines: that will be measured; the first runs the reference.
        alone: whether no other process measures.
    """
    cutter = OnceCutter(bundle)
    calibrating = calibrating_among(engines) or calibrating_engine(bundle)
    reference = reference_run(cutter, engines, calibrating)
    shortly = Stopwatch(None, least_runs=BLOCK, most_runs=BLOCK, seconds=0.0)
    stopwatches = replace(Stopwatches.beside(reference), careful=shortly)
    careless, trace = Budget(max_accuracy_drop=None), Trace()
    device = LocalDevice(cutter, careless, calibrating, None, stopwatches, trace)
    return Measurer(device, reference, alone)


def throughput(model: Model, batch: int, seconds: float) -> dict[str, Any]:
    """Returns images a second in batches of a size."""
    images = specimen_images(model.input_size, batch)
    model.batch(images)
    begun, count = time.perf_counter(), 0
    while not count or (spent := time.perf_counter() - begun) < seconds:
        model.batch(images)
        count += batch
    return {"batch": batch, "images_per_s": round(count / spent, 2)}
