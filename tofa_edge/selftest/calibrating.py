"""Which engine computes BatchNorm statistics and ranges of values, for itself and for others."""

from __future__ import annotations

from collections.abc import Iterable

from tofa_edge import backends
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.selftest.records import TRUSTED, passing_engines

QUICK = ("tflite", "onnxruntime")  # to load, and beside other programs; the quickest first


def calibrates_itself(engine: Engine) -> bool:
    """Whether an engine is trusted with BatchNorm statistics: on the CPU in fp32 alone."""
    exact = (engine.target.unit, engine.target.precision) == ("cpu", "fp32")
    return engine.backend.calibrates and exact


def calibrator(engine: Engine, bundle: Bundle | None = None) -> Engine:
    """Returns the engine that estimates BatchNorm statistics for another: itself, if it can.

    The other one computes a bundle's golden cases.
    """
    return engine if calibrates_itself(engine) else calibrating_engine(bundle)


def calibrating_engine(bundle: Bundle | None = None, python: str | None = None) -> Engine:
    """Returns the engine that works here and calibrates soonest, on the CPU's most threads.

    It computes a bundle's golden cases; the reference at worst. `python` tests engines, see
    `engine_records`.
    """
    trusted = Engine(backends.backend(TRUSTED), Target())
    return calibrating_among(passing_engines(bundle, python=python)) or trusted


def calibrating_among(engines: Iterable[Engine]) -> Engine | None:
    """Returns the one of `engines` that calibrates soonest, on most threads; None for none.

    A calibration network runs a few times only, so that what counts is how soon it is loaded.
    """

    def order(engine: Engine) -> tuple[int, int]:
        name = engine.backend.name
        rank = QUICK.index(name) if name in QUICK else len(QUICK)
        return rank + (name == TRUSTED), -engine.target.threads

    return min(filter(calibrates_itself, engines), key=order, default=None)
