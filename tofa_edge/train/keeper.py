"""Keeps the checkpoint of a run: refuses what does not belong, hands it to the right phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tofa_edge.errors import TrainingError
from tofa_edge.train import checkpoint
from tofa_edge.train.loop import Phase, TrainingState


@dataclass(eq=False)
class Keeper:
    """Keeps the checkpoint of a run.

    Attributes:
        path: of the file.
        identity: of the run: a checkpoint of another is refused.
        found: what an interrupted run left, until it is used.
    """

    path: Path
    identity: Mapping[str, str]
    found: checkpoint.Checkpoint | None = None

    @staticmethod
    def open(path: Path, identity: Mapping[str, str], resume: bool) -> Keeper:
        """Returns the keeper, with what is there if resuming.

        Args:
            path: of the checkpoint.
            identity: what the run was started with, by name.
            resume: whether to go on where the checkpoint was made.

        Raises:
            TrainingError: nothing fits to resume from, or something is there and not resuming.
        """
        if not resume:
            if path.exists():
                raise TrainingError(
                    f"{path}: an interrupted run left this; go on with --resume, or remove it"
                )
            return Keeper(path, identity)
        found = checkpoint.read(path)
        checkpoint.check_identity(found, identity)
        return Keeper(path, identity, found)

    def is_at(self, *phases: str) -> bool:
        """Whether the run to resume was in one of the phases.

        Args:
            *phases: their names.
        """
        return self.found is not None and self.found.phase in phases

    def restore(self, state: TrainingState, phase: Phase) -> None:
        """Puts the state of a phase to where an interrupted run was."""
        if self.found is not None and self.found.phase == phase.name:
            checkpoint.restore(self.found, state)
            self.found = None

    def save(self, state: TrainingState, phase: Phase) -> None:
        """Writes the checkpoint."""
        checkpoint.save(self.path, state, phase, self.identity)

    def remove(self) -> None:
        """Removes it: the run is done."""
        self.path.unlink(missing_ok=True)
