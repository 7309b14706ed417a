"""What a row of a result is made of: what ran the network, and figures of one kind each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COLD_START = ("import", "open", "cut", "calibrate", "quantise", "build", "load", "first_run")


def wanted(what: str, held: bool) -> None:
    """Raises ValueError unless a condition `held`; `what` was wanted stands in its message."""
    if not held:
        raise ValueError(f"wanted {what}")


def kind_of(reason: str) -> str:
    """Returns what a `reason` begins with: "background load: …" is "background load"."""
    return reason.split(":")[0].split(",")[0]


@dataclass(frozen=True, slots=True)
class Configuration:
    """An engine on one of its targets.

    Attributes:
        engine: the backend's name.
        unit: cpu, gpu or another, as of a target.
        precision: as of a target.
        threads: as of a target.
    """

    engine: str
    unit: str
    precision: str
    threads: int

    def __post_init__(self) -> None:
        wanted("1 to 4096 threads", 1 <= self.threads <= 4096)

    def __str__(self) -> str:
        return f"{self.engine} {self.unit} {self.precision} {self.threads}t"

    @property
    def words(self) -> str:
        """It for people: "tflite int8 2 threads"."""
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        unit = None if self.unit == "cpu" else self.unit
        return " ".join(part for part in (self.engine, unit, self.precision, threads) if part)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """On labelled check photos.

    Attributes:
        right: photos classified right.
        of: photos.
        low: lower bound of the 95 % interval of the share, by Wilson's score.
        high: its upper bound.
    """

    right: int
    of: int
    low: float
    high: float

    def __post_init__(self) -> None:
        wanted("right photos out of those tested", 0 <= self.right <= self.of and self.of > 0)
        wanted("an interval within 0..1", 0 <= self.low <= self.high <= 1)

    @property
    def share(self) -> float:
        """Of photos classified right, 0..1."""
        return self.right / self.of


@dataclass(frozen=True, slots=True)
class Parity:
    """How near an engine computes to the reference.

    Attributes:
        largest_difference: of logits, over the largest logit; of integers, from the reference in
            the same integers; None where it is no number.
        same_class: photos with the same class; of integers, as in float.
        of: photos.
    """

    largest_difference: float | None
    same_class: int
    of: int

    def __post_init__(self) -> None:
        wanted("photos of the same class out of all", 0 <= self.same_class <= self.of)


@dataclass(frozen=True, slots=True)
class Throughput:
    """Images a second in batches.

    Attributes:
        batch: its size.
        images_per_s: reached.
    """

    batch: int
    images_per_s: float


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Medians over new processes, from the start to the first prediction, in seconds.

    Attributes:
        import_s: of the package and the engine.
        open_s: of the bundle.
        cut_s: of the subnet's weights.
        calibrate_s: of BatchNorm.
        build_s: of the engine's artefact.
        load_s: of that.
        first_run_s: the first prediction.
        process_s: the whole, seen from outside.
        runs: processes.
        quantise_s: ranges of integers; None in float.
        peak_memory_bytes: of such a process; None where an old result does not say.
    """

    import_s: float
    open_s: float
    cut_s: float
    calibrate_s: float
    build_s: float
    load_s: float
    first_run_s: float
    process_s: float
    runs: int
    quantise_s: float | None = None
    peak_memory_bytes: int | None = None

    @property
    def parts(self) -> Mapping[str, float]:
        """The seconds of each part that was needed, by name, in the order of `COLD_START`."""
        seconds = {name: getattr(self, f"{name}_s") for name in COLD_START}
        return {name: spent for name, spent in seconds.items() if spent is not None}


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one layer costs in one run.

    Attributes:
        name: of the layer.
        mmacs: millions of multiply-accumulates.
        ms: its part of the median.
    """

    name: str
    mmacs: float
    ms: float

    def __post_init__(self) -> None:
        wanted(f"a cost of layer {self.name}, 0 or more", min(self.mmacs, self.ms) >= 0)
