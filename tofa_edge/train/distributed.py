"""Several processes that train as one: Lightning Fabric starts them, this averages over them.

Every process draws the whole batch and takes its share, BatchNorm uses the moments of the whole
batch, and gradients are averaged once, after the last subnet of a step. So the losses are those of
one process with the same batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tofa_edge.errors import TrainingError


@dataclass(frozen=True, eq=False)
class Processes:
    """The processes of a run; by default this one alone.

    Attributes:
        rank: of this one.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @staticmethod
    def join(device: str) -> Processes:
        """Joins the processes that torchrun started; returns this one alone without it.

        Args:
            device: "cpu" or "cuda".

        Raises:
            TrainingError: Lightning Fabric is not installed.
        """
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            return Processes()
        try:
            from lightning_fabric import Fabric
            from lightning_fabric.strategies.ddp import DDPStrategy
        except ImportError as error:
            raise TrainingError(
                "several processes need Lightning Fabric: pip install lightning-fabric"
            ) from error
        local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
        backend = "nccl" if device == "cuda" else "gloo"
        fabric: Any = Fabric(
            accelerator=device,
            devices=local,
            num_nodes=world // local,
            strategy=DDPStrategy(process_group_backend=backend),
        )
        fabric.launch()
        return Processes(fabric.global_rank, fabric.world_size)

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def check(self, batch: int, parts: int = 1) -> None:
        """Checks that the `parts` of a `batch` of so many photos can be shared out evenly.

        Raises:
            TrainingError: one cannot.
        """
        if self.world > 1 and batch % (parts * self.world):
            divided = f"{parts} parts for " if parts > 1 else ""
            raise TrainingError(
                f"a batch of {batch} photos is not for {divided}{self.world} processes"
            )

    def share(self, batch: Tensor) -> Tensor:
        """Returns this process's images of a `batch` (N, …), any dtype, that all have drawn."""
        return batch if self.world == 1 else batch[self.rank :: self.world]

    def mean(self, value: Tensor) -> Tensor:
        """Returns the average of a `value`, floats, any shape, over the processes.

        Gradients are averaged back.
        """
        if self.world == 1:
            return value
        averaged: Tensor = _Mean.apply(value, self.world)  # type: ignore[no-untyped-call]
        return averaged

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """Returns the rows of all processes, (count, …), from each one's, as `share` deals them.

        Args:
            rows: float32 or float16, this process's, (M, …).
            count: of all rows.
        """
        if self.world == 1:
            return rows
        every = torch.zeros(count, *rows.shape[1:])
        every[self.rank :: self.world] = rows
        return (self.mean(every) * self.world).to(rows.dtype)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Returns of each of the `*flags` whether it is up in any process."""
        if self.world == 1:
            return flags
        return tuple((self.mean(torch.tensor(flags, dtype=torch.float32)) > 0).tolist())

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Averages the gradients of `parameters` over the processes, in one message."""
        if self.world == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def agree(self, values: Iterable[Tensor]) -> None:
        """Gives all processes the first one's `values`, in place."""
        if self.world == 1:
            return
        for value in values:
            given = _sendable(value)
            torch.distributed.broadcast(given, 0)
            value.detach().copy_(given)

    def wait(self) -> None:
        """Waits until all processes are here."""
        if self.world > 1:
            torch.distributed.barrier()

    def leave(self) -> None:
        """Waits for the others, then leaves: a process that just ends may abort the others."""
        if self.world > 1:
            self.wait()
            torch.distributed.destroy_process_group()


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, value: Tensor, world: int) -> Tensor:
        context.world = world
        return _summed(value) / world

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _summed(gradients[0]) / context.world, None


def _summed(value: Tensor) -> Tensor:
    total = _sendable(value)
    torch.distributed.all_reduce(total)
    return total.to(value.device)


def _sendable(value: Tensor) -> Tensor:
    """Returns a copy of a value that the processes can exchange: NCCL knows GPUs only."""
    copied = value.detach().clone(memory_format=torch.contiguous_format)
    return copied.cuda() if torch.distributed.get_backend() == "nccl" else copied


ALONE = Processes()
