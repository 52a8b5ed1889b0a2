"""Muon for hidden matrices and AdamW for the rest, on fp32 masters of bf16 weights.

Muon (Jordan 2024): momentum, then the nearest orthogonal matrix by five Newton-Schulz steps.
Scaled by 0.2 sqrt(max dimension) its steps are as long as AdamW's (arXiv 2502.16982).
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def newton_schulz(matrices: Tensor, steps: int = 5) -> Tensor:
    """Return roughly the orthogonal factors of matrices `n r c` with r <= c, in bf16."""
    x = matrices.bfloat16()
    x = x / (x.flatten(1).norm(dim=1).clamp_min(1e-7)[:, None, None])
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


class MasterOptimizer:
    """One update for a whole network whose working weights may be bf16.

    Matrices of `hidden` go to Muon, `qkv` weights as three matrices; every other parameter goes to
    AdamW. Decoupled weight decay acts on the matrices.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        hidden: Iterable[str],
        muon_lr: float = 3.6e-3,
        adam_lr: float = 1e-3,
        decay: float = 0.05,
    ) -> None:
        self.working = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self.masters = {n: p.detach().float().clone() for n, p in self.working.items()}
        self.first = {n: torch.zeros_like(m) for n, m in self.masters.items()}
        self.hidden = sorted(hidden)
        self.rest = sorted(set(self.masters) - set(self.hidden))
        self.second = {n: torch.zeros_like(self.masters[n]) for n in self.rest}
        self.muon_lr, self.adam_lr, self.decay = muon_lr, adam_lr, decay
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: dict[str, Tensor], factor: float) -> None:
        """Move by `gradients` at `factor` times the peak learning rates.

        A parameter outside the hidden ones may have no gradient; it stays where it is.
        """
        self.steps += 1
        self._muon(gradients, factor * self.muon_lr)
        self._adam(gradients, factor * self.adam_lr)
        for name, working in self.working.items():
            working.copy_(self.masters[name])

    def _muon(self, gradients: dict[str, Tensor], lr: float) -> None:
        groups: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for name in self.hidden:
            momentum = self.first[name].mul_(0.95).add_(gradients[name])
            update = gradients[name].add(momentum, alpha=0.95)
            parts = 3 if name.endswith("qkv.weight") else 1
            for master, part in zip(
                self.masters[name].chunk(parts), update.chunk(parts), strict=True
            ):
                wide = (master, part) if part.shape[0] <= part.shape[1] else (master.T, part.T)
                groups[tuple(wide[1].shape)].append(wide)  # type: ignore[index]
        for (_, columns), members in groups.items():
            directions = newton_schulz(torch.stack([part for _, part in members])).float()
            for (master, _), direction in zip(members, directions, strict=True):
                master.mul_(1 - lr * self.decay).sub_(direction, alpha=lr * 0.2 * columns**0.5)

    def _adam(self, gradients: dict[str, Tensor], lr: float) -> None:
        first_scale, second_scale = 1 - 0.9**self.steps, 1 - 0.95**self.steps
        for name in (n for n in self.rest if n in gradients):
            gradient, master = gradients[name], self.masters[name]
            first = self.first[name].lerp_(gradient, 0.1)
            second = self.second[name].lerp_(gradient.square(), 0.05)
            if master.ndim > 1:
                master.mul_(1 - lr * self.decay)
            denominator = second.div(second_scale).sqrt_().add_(1e-8)
            master.addcdiv_(first, denominator, value=-lr / first_scale)

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, by name."""
        tensors = {f"master.{n}": t for n, t in self.masters.items()}
        tensors |= {f"first.{n}": t for n, t in self.first.items()}
        tensors |= {f"second.{n}": t for n, t in self.second.items()}
        return tensors | {"steps": torch.tensor(self.steps)}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take up a state that `state` gave."""
        mine = self.state()
        if mine.keys() != tensors.keys():
            odd = sorted(mine.keys() ^ tensors.keys())[:5]
            raise ValueError(f"the optimiser state is of another network; differing names: {odd}")
        for name, tensor in mine.items():
            tensor.copy_(tensors[name])
        self.steps = int(tensors["steps"])
        for name, working in self.working.items():
            working.copy_(self.masters[name])
