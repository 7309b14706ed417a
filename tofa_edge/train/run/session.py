"""What every run of training begins and ends with: its processes, and a supernet to ship."""

from __future__ import annotations

import logging

from tofa_edge.train.config import OnStep, TrainingConfig, silent
from tofa_edge.train.distributed import Processes
from tofa_edge.train.supernet.start import used_device
from tofa_edge.train.supernet.supernet import Supernet


def join(config: TrainingConfig, on_step: OnStep) -> tuple[Processes, OnStep]:
    """Joins the processes of a run; only the first of them reports and logs."""
    processes = Processes.join(used_device(config).type)
    if processes.first:
        return processes, on_step
    logging.getLogger("tofa_edge").setLevel(logging.ERROR)
    return processes, silent


def to_ship(supernet: Supernet) -> Supernet:
    """Returns a supernet as devices compute it: not in bfloat16."""
    supernet.mixed = False
    return supernet.cpu()
