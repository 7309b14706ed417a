"""Figures of every step as CSV and, where TensorBoard's writer is installed, as its events."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tofa_edge.errors import TrainingError
from tofa_edge.train.config import OnStep, Progress

METRICS = "metrics.csv"
SUBNETS = ("smaller", "larger", "largest")


@contextmanager
def logged(folder: Path | None, on_step: OnStep) -> Iterator[OnStep]:
    """Yields what to call after each step: it logs, then calls `on_step`.

    A `folder` gets `metrics.csv`, and event files if tensorboardX or tensorboard is there; what an
    earlier run left is kept as `metrics-1.csv` and so on. None logs nothing.

    Raises:
        TrainingError: the folder cannot be written, or Lightning Fabric is not installed.
    """
    if folder is None:
        yield on_step
        return
    loggers = _loggers(folder)

    def log(progress: Progress) -> None:
        if not progress.losses:  # nothing is learned
            on_step(progress)
            return
        figures = {
            **{f"loss/{n}": v for n, v in zip(SUBNETS, progress.losses, strict=False)},
            "images_per_second": progress.images_per_second,
            "seconds": progress.seconds,
            **progress.metrics,
        }
        named = {f"{progress.phase}/{name}": value for name, value in figures.items()}
        for logger in loggers:
            logger.log_metrics(named, progress.step)
        on_step(progress)

    try:
        yield log
    finally:
        for logger in loggers:
            logger.save()
            logger.finalize("done")


def _keep_earlier(path: Path) -> None:
    """Renames what an earlier run wrote: the logger would remove it."""
    if path.exists():
        numbers = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in itertools.count(1))
        path.rename(next(other for other in numbers if not other.exists()))


def _loggers(folder: Path) -> list[Any]:
    try:
        from lightning_fabric.loggers.csv_logs import CSVLogger
        from lightning_fabric.loggers.tensorboard import TensorBoardLogger
    except ImportError as error:
        raise TrainingError("logs need Lightning Fabric: pip install lightning-fabric") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _keep_earlier(folder / METRICS)
        (folder / METRICS).touch()  # the logger would find out after minutes that it may not
        loggers: list[Any] = [CSVLogger(folder, name="", version="")]
        with warnings.catch_warnings():  # of what lies there; nothing does any more
            warnings.filterwarnings("ignore", message="Experiment logs directory")
            loggers[0].experiment  # noqa: B018  (made on first use)
        if find_spec("tensorboardX") or find_spec("tensorboard"):
            loggers.append(TensorBoardLogger(folder, name="", version=""))
    except OSError as error:
        raise TrainingError(f"{folder}: logs cannot be written: {error}") from error
    return loggers
