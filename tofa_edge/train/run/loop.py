"""The loop of every phase: one optimiser step for all subnets, averages, checkpoints, progress."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.errors import TrainingError
from tofa_edge.interruption import Interrupted, Interruption, interruption
from tofa_edge.train.config import OnStep, Progress, silent
from tofa_edge.train.data.steps import Step
from tofa_edge.train.distributed import ALONE, Processes
from tofa_edge.train.objective.objectives import Objective
from tofa_edge.train.objective.subnets import stratified
from tofa_edge.train.run.allocation import keep_freed_memory
from tofa_edge.train.supernet.supernet import Supernet

WARM_UP_STEPS = 20
WEIGHT_DECAY = 0.02
CLIP_NORM = 5.0
LEAST_MOMENTUM = 0.05  # stored BatchNorm statistics average about the last 20 steps
AVERAGE_DECAY = 0.998  # of the averaged weights: about the last 500 steps
OBJECTIVE = "objective."  # before the names of what an objective trains beside the supernet
OBJECTIVE_RATE = 0.1  # its learning rate over that of the supernet: its layers are linear and wide

Choose = Callable[[SearchSpace, Step], Sequence[Subnet]]


@dataclass(frozen=True, slots=True)
class Phase:
    """A run of steps.

    Attributes:
        name: for people and checkpoints.
        steps: how many.
        learning_rate: the peak of the cosine schedule, for AdamW.
        seed: of the whole run.
        choose: the subnets of a step.
        head_rate: the classifier's learning rate over that of the other layers.
        processes: that run it together.
        rounded: whether subnets compute as if in 8-bit integers; the averaged one never does.
    """

    name: str
    steps: int
    learning_rate: float
    seed: int = 0
    choose: Choose = stratified
    head_rate: float = 1.0
    processes: Processes = ALONE
    rounded: bool = False


@dataclass(eq=False)
class TrainingState:
    """All that changes in a phase.

    Attributes:
        supernet: trained in place.
        averaged: the same with weights averaged over steps; what ships.
        optimiser: AdamW over the supernet's parameters, and the objective's.
        objective: of the phase, with a state of its own.
        step: how many are done.
        seconds: they took.
        extra: what a hook remembers, for checkpoints.
        whole: whether no step, nor what its hook does, is half done; only then it may be kept.
    """

    supernet: Supernet
    averaged: Supernet
    optimiser: torch.optim.Optimizer
    objective: Objective
    step: int = 0
    seconds: float = 0.0
    extra: dict[str, torch.Tensor] = field(default_factory=dict)
    whole: bool = True

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Returns all that the optimiser moves, by name."""
        return _parameters(self.supernet, self.objective)


Hook = Callable[[Progress, TrainingState], bool]  # called after a step; True ends the phase


def begin(supernet: Supernet, objective: Objective, phase: Phase) -> TrainingState:
    """Returns the state before the first step."""
    if phase.processes.world > 1:
        supernet.across = phase.processes.mean
        phase.processes.agree(supernet.arrays().values())
    averaged = copy.deepcopy(supernet).requires_grad_(False)
    averaged.rounded, supernet.rounded = False, phase.rounded
    supernet.requires_grad_(True)  # another phase's result was an averaged one
    phase.processes.agree(objective.parameters().values())
    optimiser = _optimiser(_parameters(supernet, objective), phase)
    return TrainingState(supernet, averaged, optimiser, objective)


def run(
    state: TrainingState,
    phase: Phase,
    on_step: OnStep = silent,
    hook: Hook = lambda progress, state: False,
    keep: Callable[[], None] = lambda: None,
) -> None:
    """Runs the remaining steps of a phase; the averaged supernet is the result.

    Args:
        state: from `begin`, or from a checkpoint.
        phase: what to run.
        on_step: called after each step.
        hook: called before that, with the state; ends the phase by True, of any process.
        keep: writes the checkpoint: called at the end, or between two steps at an interruption.

    Raises:
        TrainingError: a loss or gradient is not finite; the step is named. Weights stay good.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP, to any process; between two steps, if sent
            once.
    """
    keep_freed_memory()
    with interruption(raises=False) as asked:  # a step ends before training does
        try:
            stopped = _steps(state, phase, on_step, hook, asked)
        except KeyboardInterrupt:  # of this process alone
            if state.whole:
                keep()
            raise
        keep()
        if stopped:
            phase.processes.wait()  # who leaves early may have the others killed while they write
            raise KeyboardInterrupt if asked.number is None else Interrupted(asked.number)


def _steps(
    state: TrainingState, phase: Phase, on_step: OnStep, hook: Hook, asked: Interruption
) -> bool:
    """Runs steps until the last, the hook's end or an interruption; returns if it was that."""
    began = time.perf_counter() - state.seconds
    while state.step < phase.steps:
        state.whole = False
        losses = _step(state, phase)
        state.step += 1
        state.seconds = time.perf_counter() - began
        speed = state.step * state.objective.images_per_step / state.seconds
        figures = dict(state.objective.metrics())
        name = phase.name
        progress = Progress(state.step, phase.steps, losses, state.seconds, speed, name, figures)
        ends = hook(progress, state)
        state.whole = True
        on_step(progress)
        ends, stopped = phase.processes.any(ends, asked.number is not None)
        if ends or stopped:
            return stopped
    return False


def _step(state: TrainingState, phase: Phase) -> tuple[float, ...]:
    step = Step(state.step, phase.steps, phase.seed)
    supernet, optimiser = state.supernet, state.optimiser
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * _rate(state.step + 1, phase.steps)
    supernet.momentum = max(LEAST_MOMENTUM, 1 / (state.step + 2))
    subnets = phase.choose(supernet.space, step)
    losses = []
    for loss in state.objective.losses(step, supernet, state.averaged, subnets):
        torch.autograd.backward(loss)  # one subnet's graph at a time is in memory
        losses.append(float(phase.processes.mean(loss.detach())))
    moved = [*state.parameters().values()]
    phase.processes.average_gradients(moved)
    norm = torch.nn.utils.clip_grad_norm_(moved, CLIP_NORM)
    for name, value in (("loss", sum(losses)), ("gradient", float(norm))):
        if not math.isfinite(value):
            raise TrainingError(
                f"the {name} is not finite at step {state.step + 1} of {phase.name}: "
                "lower the learning rate (--resume, if there is a checkpoint, accepts another)"
            )
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    _average(state.averaged, supernet, state.step)
    return tuple(losses)


def _average(averaged: Supernet, supernet: Supernet, step: int) -> None:
    decay = min(AVERAGE_DECAY, (1 + step) / (10 + step))
    with torch.no_grad():
        targets, sources = averaged.arrays(), supernet.arrays()
        torch._foreach_lerp_(
            list(targets.values()), [sources[name].detach() for name in targets], 1 - decay
        )


def _parameters(supernet: Supernet, objective: Objective) -> dict[str, torch.nn.Parameter]:
    beside = objective.parameters()
    return {**dict(supernet.named_parameters()), **{OBJECTIVE + n: p for n, p in beside.items()}}


def _optimiser(parameters: Mapping[str, torch.nn.Parameter], phase: Phase) -> torch.optim.Optimizer:
    """AdamW; no decay of BatchNorm and biases, rates of their own for classifier and objective."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decay = WEIGHT_DECAY if name.endswith(".weight") else 0.0
        rate = OBJECTIVE_RATE if name.startswith(OBJECTIVE) else 1.0
        peak = phase.learning_rate * (phase.head_rate if f".{LOGITS}." in name else rate)
        groups.setdefault((decay, peak), []).append(parameter)
    options = [
        {"params": members, "weight_decay": decay, "peak": peak}
        for (decay, peak), members in groups.items()
    ]
    return torch.optim.AdamW(options, lr=phase.learning_rate)


def _rate(step: int, steps: int) -> float:
    """The learning rate over its peak: linear warm-up, then a cosine down to 0."""
    warm_up = min(WARM_UP_STEPS, steps // 2)
    if step <= warm_up:
        return step / max(1, warm_up)
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
