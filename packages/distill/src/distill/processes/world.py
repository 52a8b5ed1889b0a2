"""The processes of a run: one, or those of `torch.distributed` where it is initialized."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class World:
    """This process among all processes of the run.

    - `rank`: number of this process.
    - `size`: number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "World":
        """Return the initialized process group, or a world of one.

        Raises ValueError if a launcher started this process and nothing joined it to the others:
        each would train, and write, alone.
        """
        if not distributed.is_available():
            return cls()
        if not distributed.is_initialized():
            if distributed.is_torchelastic_launched():
                raise ValueError(
                    "world=1; this process was started by torchrun or accelerate launch, and has "
                    "not joined the others: call `distill.join_processes()` first"
                )
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where tensors are summed: this process's GPU under nccl, else the CPU."""
        if self.size > 1 and distributed.get_backend() == "nccl":
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("cpu")

    def share(self, count: int) -> range:
        """Return which of `count` things this process does; together all, none twice."""
        return range(self.rank, count, self.size)

    def idle_turns(self, count: int) -> int:
        """Return how many things of its share this process has fewer than the first."""
        return len(range(0, count, self.size)) - len(self.share(count))

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.size == 1:
            return values
        total = values.to(self.device, copy=True)
        distributed.all_reduce(total)
        return total.to(values.device)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return bool(self.sum(_told(float(flag))).item())

    def same(self, value: int) -> bool:
        """Return whether all processes hold the same number."""
        parts = _told([value & 0xFFFFFF, value >> 24 & 0xFFFFFF])
        like_the_mean = torch.equal(self.sum(parts), parts * self.size)
        return not self.any(not like_the_mean)  # one among many may hold the mean of others

    def first(self, names: list[str] | None) -> list[str]:
        """Return the names that the first process holds, in every process."""
        if self.size == 1:
            return names or []
        text = "\n".join(names or []).encode()
        length = self.sum(_told(len(text) if self.leads else 0))
        message = _told(list(text) if self.leads else [0] * int(length))
        told = bytes(map(int, self.sum(message).tolist())).decode()
        return told.split("\n") if told else []

    def of_first(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Return the numbers of the first process by name, in every process."""
        if self.size == 1:
            return dict(numbers)
        names = self.first(list(numbers))
        values = _told(list(numbers.values()) if self.leads else [0.0] * len(names))
        return dict(zip(names, self.sum(values).tolist(), strict=True))

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            distributed.barrier()

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Sum the gradients over all processes, in one message for each number format."""
        if self.size == 1:
            return
        used = self.sum(_told([float(p.grad is not None) for p in parameters]))
        chosen = [p for p, count in zip(parameters, used.tolist(), strict=True) if count]
        for dtype in sorted({p.dtype for p in chosen}, key=str):
            grads = [_gradient(p) for p in chosen if p.dtype == dtype]
            total = self.sum(torch.cat([grad.flatten() for grad in grads]))
            parts = torch.split(total, [grad.numel() for grad in grads])
            for grad, part in zip(grads, parts, strict=True):
                grad.copy_(part.view_as(grad))


def _told(numbers: float | int | Sequence[float | int]) -> Tensor:
    """Numbers as a message, exact up to 2^53, wherever PyTorch makes tensors by default."""
    return torch.tensor(numbers, dtype=torch.float64, device="cpu")


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
