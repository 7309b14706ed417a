"""Checkpoints: all that a phase changes, in one safetensors file, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tofa_edge.errors import TrainingError
from tofa_edge.storage.files import whole_file
from tofa_edge.train.run.loop import Phase, TrainingState

log = logging.getLogger(__name__)

MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # of AdamW, by parameter


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A phase stopped somewhere.

    Attributes:
        path: of the file.
        phase: its name.
        step: how many steps are done.
        seconds: they took.
        identity: what the run was started with, by name.
        tensors: everything else.
    """

    path: Path
    phase: str
    step: int
    seconds: float
    identity: Mapping[str, str]
    tensors: Mapping[str, Tensor]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Returns the tensors whose names begin with a `prefix`, by the rest of the name."""
        named = self.tensors.items()
        return {k.removeprefix(prefix): v for k, v in named if k.startswith(prefix)}

    def tensor(self, name: str, like: Tensor) -> Tensor:
        """Returns the tensor of a `name`, of the shape of `like`, or raises a TrainingError."""
        tensor = self.tensors.get(name)
        if tensor is None:
            raise TrainingError(f"{self.path}: {name} is missing")
        wanted, got = tuple(like.shape), tuple(tensor.shape)
        if wanted != got:
            raise TrainingError(f"{self.path}: {name}: wanted shape {wanted}, got {got}")
        return tensor


@dataclass(eq=False)
class Checkpoints:
    """The checkpoint of a run: refuses one of another run, restores a phase from it.

    Attributes:
        path: of the file; None writes none.
        identity: what the run was started with, by name.
        found: what an interrupted run left, until it is used.
    """

    path: Path | None = None
    identity: Mapping[str, str] = field(default_factory=dict)
    found: Checkpoint | None = None

    @property
    def folder(self) -> Path | None:
        """Where the file lies; None writes none."""
        return None if self.path is None else self.path.parent

    @staticmethod
    def open(out: Path, resume: bool) -> Checkpoints:
        """Returns those beside the bundle `out`, with what is there to `resume` from.

        Raises:
            TrainingError: there is none to resume from, or there is one and not resuming.
        """
        path = out.with_name(out.name + ".checkpoint")
        if resume:
            return Checkpoints(path, found=read(path))
        if path.exists():
            raise TrainingError(
                f"{path}: an interrupted run left this checkpoint; continue it with --resume, "
                "or remove the file"
            )
        return Checkpoints(path)

    def identify(self, identity: Mapping[str, str]) -> None:
        """Takes the `identity` of the run.

        Raises:
            TrainingError: the interrupted run had another; both values are named.
        """
        self.identity = identity
        for name, wanted in identity.items() if self.found else ():
            earlier = self.found and self.found.identity.get(name)
            if earlier != wanted:
                raise TrainingError(
                    f"{self.path}: made with another {name}: {earlier}, now it is {wanted}; "
                    "resume with the same, or remove the checkpoint"
                )

    def is_at(self, *phases: str) -> bool:
        """Whether the run to resume was in one of the `phases`."""
        return self.found is not None and self.found.phase in phases

    def restore(self, state: TrainingState, phase: Phase) -> None:
        """Puts the state of a phase to where an interrupted run was."""
        if self.found is None or self.found.phase != phase.name:
            return
        found, self.found = self.found, None
        with torch.no_grad():
            for prefix, supernet in (("supernet", state.supernet), ("averaged", state.averaged)):
                for name, value in supernet.arrays().items():
                    value.copy_(found.tensor(f"{prefix}/{name}", value))
        for name, parameter in state.parameters().items():
            keys = [key for key in MOMENTS if f"moments/{name}/{key}" in found.tensors]
            moments = {}
            for key in keys:
                like = parameter if key != "step" else torch.zeros(())
                moment = found.tensor(f"moments/{name}/{key}", like)
                moments[key] = torch.empty_like(like, requires_grad=False).copy_(moment)
            if moments:
                state.optimiser.state[parameter] = moments
        state.objective.load_state(found.under("objective/"))
        state.extra = found.under("extra/")
        state.step, state.seconds = found.step, found.seconds

    def save(self, state: TrainingState, phase: Phase) -> None:
        """Writes the checkpoint.

        Raises:
            TrainingError: it cannot be written; an older one is still there.
        """
        if self.path is None:
            return
        tensors: dict[str, Tensor] = {}
        for prefix, supernet in (("supernet", state.supernet), ("averaged", state.averaged)):
            tensors |= {f"{prefix}/{name}": value for name, value in supernet.arrays().items()}
        for name, parameter in state.parameters().items():
            moments = state.optimiser.state.get(parameter, {})
            tensors |= {f"moments/{name}/{key}": moments[key] for key in MOMENTS if key in moments}
        tensors |= {f"objective/{name}": value for name, value in state.objective.state().items()}
        tensors |= {f"extra/{name}": value for name, value in state.extra.items()}
        content = {n: value.detach().cpu().contiguous().clone() for n, value in tensors.items()}
        progress = {"phase": phase.name, "step": str(state.step), "seconds": repr(state.seconds)}
        metadata = {**progress, "identity": json.dumps(dict(self.identity))}
        try:
            with whole_file(self.path) as stream:
                safetensors.torch.save_file(content, Path(stream.name), metadata)
        except (OSError, safetensors.SafetensorError) as error:
            raise TrainingError(
                f"{self.path}: the checkpoint cannot be written: {error}"
            ) from error

    def remove(self) -> None:
        """Removes it: the run is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def read(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        TrainingError: there is none, or it is damaged.
    """
    if not path.exists():
        raise TrainingError(f"{path}: no checkpoint to resume from; start without --resume")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        step, seconds = int(metadata["step"]), float(metadata["seconds"])
        identity = json.loads(metadata["identity"])
        return Checkpoint(path, metadata["phase"], step, seconds, identity, tensors)
    except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(
            f"{path}: the checkpoint cannot be read ({error}); remove it and start again"
        ) from error


@contextlib.contextmanager
def saying_how_to_resume(checkpoints: Checkpoints) -> Iterator[None]:
    """Logs how to go on where the block is interrupted and has left a checkpoint."""
    try:
        yield
    except KeyboardInterrupt:
        if checkpoints.path is not None and checkpoints.path.exists():
            log.info(f"stopped; go on with --resume (checkpoint: {checkpoints.path})")
        raise
