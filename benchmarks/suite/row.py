"""One network on one engine: all that is measured of it in this process."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
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
from tofa_edge.benchmarks.result.row import Role, Row
from tofa_edge.benchmarks.result.row_parts import Accuracy, LayerCost, Parity, Throughput
from tofa_edge.benchmarks.suite.fields import UNMEASURED, configuration, failed_row, with_latency
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES, Cutter
from tofa_edge.deployment.local_device import Finished, LocalDevice
from tofa_edge.deployment.measure import Stopwatches, reference_run, unexplained
from tofa_edge.deployment.trace import Trace
from tofa_edge.errors import TofaError
from tofa_edge.measurement.energy import Meter
from tofa_edge.measurement.order_statistics import wilson
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
        artefacts: of the engines' rows, by their `key`.
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

    def row(self, role: Role, subnet: Subnet, engine: Engine, effort: Effort) -> Row:
        """Returns a row of a result; a failure is a row too.

        Args:
            role: what it is measured for.
            subnet: which.
            engine: to run it.
            effort: how much to measure.
        """
        try:
            finished = self.device.finish(subnet, engine)
        except TofaError as error:
            return failed_row(role, subnet, engine, error)
        with unexplained(self.bundle, finished.session, subnet, engine) as model:
            try:
                row = self._measured(role, finished, model, effort)
            except TofaError as error:
                return failed_row(role, subnet, engine, error)
        if role == "engine":
            self.artefacts[row.key] = finished.artefact
        return row

    def _measured(self, role: Role, finished: Finished, model: Model, effort: Effort) -> Row:
        subnet, engine = model.subnet, finished.engine
        image = specimen_images(model.input_size)[0]
        recording, reasons = self.recorded(lambda: model(image), engine.target.threads, effort)
        meter = Meter.here(self._root)
        mmacs = round(sum(map(layer_macs, self._layers(subnet))) / 1e6, 3)
        row = Row(
            role,
            configuration(engine),
            subnet.to_json(),
            resolution=subnet.resolution,
            mmacs=mmacs,
            failed=UNMEASURED,
            throughput=tuple(throughput(model, b, effort.batch_seconds) for b in effort.batches),
            artefact_bytes=len(finished.artefact),
            accuracy=self._accuracy(model),
            parity=self._parity(finished, model, effort.photos),
            layers=self._shares(subnet, recording.latency.p50_ms),
            layers_how=LAYERS_HOW,
            energy=meter.spent(lambda: model(image), effort.energy_seconds) if meter else None,
        )
        if engine.target.threads > 1:
            time.sleep(0.03)  # threads of a pool spin on after a run
        return with_latency(row, recording, reasons)

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

    def _shares(self, subnet: Subnet, median_ms: float) -> tuple[LayerCost, ...]:
        rows = []
        for layer in self._layers(subnet):
            slower = DEPTHWISE if operator_name(layer).startswith("depthwise") else 1.0
            rows.append((layer, slower * layer_macs(layer) + DEPTHWISE * value_elements(layer)))
        whole = sum(work for _, work in rows) or 1.0
        return tuple(
            LayerCost(layer.name, layer_macs(layer) / 1e6, round(median_ms * work / whole, 5))
            for layer, work in rows
            if work
        )

    def _accuracy(self, model: Model) -> Accuracy | None:
        images, labels = self.bundle.check_images(model.input_size)
        return share_right([model(image).index for image in images], labels.tolist())

    def _parity(self, finished: Finished, model: Model, photos: int) -> Parity:
        """Compares with the reference; in integers, with it in the same integers, and in float."""
        drop = finished.measured.drop
        if drop is not None:
            same, of = drop.alike, drop.images
            return Parity(finite(finished.difference), same, of)
        subnet = model.subnet
        images = self._photos(subnet.resolution, photos)
        if self._expected is None or self._expected[:2] != (subnet, photos):
            exact = self.device.cutter.network(subnet, calibrating_engine(self.bundle))
            self._expected = (subnet, photos, reference_logits(exact, images))
        expected = self._expected[2]
        logits = np.stack([model(image).logits for image in images])
        same = int((logits.argmax(axis=1) == expected.argmax(axis=1)).sum())
        return Parity(finite(difference(logits, expected)), same, len(images))

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


def share_right(named: Sequence[int], labels: Sequence[int]) -> Accuracy | None:
    """Returns the accuracy of classes `named` against `labels`; None where there are none."""
    if not len(labels):
        return None
    right = sum(int(one == other) for one, other in zip(named, labels, strict=True))
    return Accuracy(right, len(labels), *wilson(right, len(labels)))


def finite(value: float | None) -> float | None:
    """Returns a `value` as a plain number, None where it is none: JSON has no infinity."""
    return float(value) if value is not None and math.isfinite(value) else None


def throughput(model: Model, batch: int, seconds: float) -> Throughput:
    """Returns images a second in batches of a size."""
    images = specimen_images(model.input_size, batch)
    model.batch(images)
    begun, count = time.perf_counter(), 0
    while not count or (spent := time.perf_counter() - begun) < seconds:
        model.batch(images)
        count += batch
    return Throughput(batch, round(count / spent, 2))
