"""Checkpoints: all that a phase changes, in one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tofa_edge.errors import TrainingError
from tofa_edge.storage.files import whole_file
from tofa_edge.train.run.loop import Phase, TrainingState

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


@dataclass(eq=False)
class Checkpoints:
    """The checkpoint of a run: refuses one of another run, restores a phase from it.

    Attributes:
        path: of the file.
        identity: what the run was started with, by name.
        found: what an interrupted run left, until it is used.
    """

    path: Path
    identity: Mapping[str, str] = field(default_factory=dict)
    found: Checkpoint | None = None

    @staticmethod
    def open(path: Path, resume: bool) -> Checkpoints:
        """Returns the checkpoints in a file, with what is there to `resume` from.

        Args:
            path: of the file.

        Raises:
            TrainingError: there is none to resume from, or there is one and not resuming.
        """
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
        if self.found is not None and self.found.phase == phase.name:
            restore(self.found, state)
            self.found = None

    def save(self, state: TrainingState, phase: Phase) -> None:
        """Writes the checkpoint."""
        save(self.path, state, phase, self.identity)

    def remove(self) -> None:
        """Removes it: the run is done."""
        self.path.unlink(missing_ok=True)


def beside(out: Path) -> Path:
    """Returns where the checkpoint of the training of a bundle `out` lies."""
    return out.with_name(out.name + ".checkpoint")


def save(path: Path, state: TrainingState, phase: Phase, identity: Mapping[str, str]) -> None:
    """Writes a checkpoint of the run with this `identity`.

    Raises:
        TrainingError: it cannot be written; an older one is still there.
    """
    tensors: dict[str, Tensor] = {}
    for prefix, supernet in (("supernet", state.supernet), ("averaged", state.averaged)):
        tensors |= {f"{prefix}/{name}": value for name, value in supernet.arrays().items()}
    for name, parameter in state.supernet.named_parameters():
        moments = state.optimiser.state.get(parameter, {})
        tensors |= {f"moments/{name}/{key}": moments[key] for key in MOMENTS if key in moments}
    tensors |= {f"objective/{name}": value for name, value in state.objective.state().items()}
    tensors |= {f"extra/{name}": value for name, value in state.extra.items()}
    progress = {"phase": phase.name, "step": str(state.step), "seconds": repr(state.seconds)}
    metadata = {**progress, "identity": json.dumps(dict(identity))}
    content = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    try:
        with whole_file(path) as stream:
            safetensors.torch.save_file(content, Path(stream.name), metadata)
    except (OSError, safetensors.SafetensorError) as error:
        raise TrainingError(f"{path}: the checkpoint cannot be written: {error}") from error


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


def restore(checkpoint: Checkpoint, state: TrainingState) -> None:
    """Puts a state back to where the checkpoint was made."""
    tensors = checkpoint.tensors
    with torch.no_grad():
        for prefix, supernet in (("supernet", state.supernet), ("averaged", state.averaged)):
            for name, value in supernet.arrays().items():
                value.copy_(_fitting(checkpoint, f"{prefix}/{name}", value))
    for name, parameter in state.supernet.named_parameters():
        keys = [key for key in MOMENTS if f"moments/{name}/{key}" in tensors]
        moments = {}
        for key in keys:
            like = parameter if key != "step" else torch.zeros(())
            moment = _fitting(checkpoint, f"moments/{name}/{key}", like)
            moments[key] = torch.empty_like(like, requires_grad=False).copy_(moment)
        if moments:
            state.optimiser.state[parameter] = moments
    state.objective.load_state(_under("objective/", tensors))
    state.extra = _under("extra/", tensors)
    state.step, state.seconds = checkpoint.step, checkpoint.seconds


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _fitting(checkpoint: Checkpoint, name: str, like: Tensor) -> Tensor:
    tensor = checkpoint.tensors.get(name)
    if tensor is None:
        raise TrainingError(f"{checkpoint.path}: {name} is missing")
    wanted, got = tuple(like.shape), tuple(tensor.shape)
    if wanted != got:
        raise TrainingError(f"{checkpoint.path}: {name}: wanted shape {wanted}, got {got}")
    return tensor
