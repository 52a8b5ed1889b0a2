"""Muon for hidden matrices and AdamW for the rest, on fp32 masters of bf16 weights.

Muon (Jordan 2024) takes steps of nearly orthogonal directions; scaled by 0.2 sqrt(max dimension)
they are as long as AdamW's (arXiv 2502.16982). Both come from PyTorch. What is added: weights that
work in bf16, `qkv` weights as three matrices, and a running average of the masters.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from distill.record.checks import check_place, check_shape, check_tensor
from distill.record.names import closest

MUON_RATE = 3.6e-3
ADAM_RATE = 1e-3


class MasterOptimizer:
    """One update for a whole network whose working weights may be bf16.

    The 2-d weights named in `hidden` go to Muon, every other parameter to AdamW. Decoupled weight
    decay acts on the matrices. `average` is how much of the running mean of the masters each step
    keeps, less while the run is young.

    Raises ValueError where `hidden` names what is no matrix of the network, or nothing that trains.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        hidden: Iterable[str],
        muon_rate: float = MUON_RATE,
        adam_rate: float = ADAM_RATE,
        weight_decay: float = 0.05,
        average: float = 0.998,
    ) -> None:
        self.working = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self.masters = {n: p.detach().float().clone() for n, p in self.working.items()}
        self.averages = {n: m.clone() for n, m in self.masters.items()}
        self.average, self.steps = average, 0
        chosen = set(hidden)
        _check_hidden(chosen, network)
        self._parts = {n: self._split(n, m) for n, m in self.masters.items() if n in chosen}
        flat = {n: m for n, m in self.masters.items() if n not in chosen}
        matrices = [part for parts in self._parts.values() for part in parts]
        self._muon = Muon(
            matrices,
            lr=muon_rate,
            weight_decay=weight_decay,
            momentum=0.95,
            adjust_lr_fn="match_rms_adamw",
        )
        decayed = [m for m in flat.values() if m.ndim > 1]
        plain = [m for m in flat.values() if m.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self._adam = AdamW(groups, lr=adam_rate, betas=(0.9, 0.95))
        self._rates = {self._muon: muon_rate, self._adam: adam_rate}

    @staticmethod
    def _split(name: str, master: Tensor) -> tuple[Tensor, ...]:
        """Views of a weight that are matrices of their own: a `qkv` weight is three."""
        return master.chunk(3) if name.endswith("qkv.weight") else (master,)

    @torch.no_grad()
    def step(self, gradients: dict[str, Tensor], factor: float) -> None:
        """Move by `gradients` at `factor` times the full learning rates.

        A parameter without a gradient stays where it is. Raises ValueError, before anything moves,
        for a gradient of another shape or device than its parameter.
        """
        for name, given in gradients.items():
            if name in self.masters:
                _check_like(name, given, self.masters[name])
        self.steps += 1
        for name, master in self.masters.items():
            gradient = gradients.get(name)
            for part, piece in self._pieces(name, master, gradient):
                part.grad = piece
        for optimizer, rate in self._rates.items():
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad()
        keep = min(self.average, self.steps / (self.steps + 10))
        for name, master in self.masters.items():
            self.averages[name].lerp_(master, 1 - keep)
        self._publish()

    def _pieces(
        self, name: str, master: Tensor, gradient: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        parts = self._parts.get(name, (master,))
        pieces = [None] * len(parts) if gradient is None else gradient.float().chunk(len(parts))
        return zip(parts, pieces, strict=True)

    def _publish(self) -> None:
        for name, working in self.working.items():
            working.copy_(self.masters[name])

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, by name."""
        tensors = {f"master.{n}": t for n, t in self.masters.items()}
        tensors |= {f"average.{n}": t for n, t in self.averages.items()}
        for kind, optimizer in (("muon", self._muon), ("adam", self._adam)):
            for place, values in _states(optimizer).items():
                tensors |= {f"{kind}.{place}.{key}": value for key, value in values.items()}
        return tensors | {"steps": torch.tensor(self.steps, device="cpu"), "hidden": self._hidden()}

    def _hidden(self) -> Tensor:
        """Which parameters go to Muon, in order; moments are known by their place among them."""
        return torch.tensor([name in self._parts for name in self.masters], device="cpu")

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take up a state that `state` gave.

        Raises ValueError, before anything changes, if it is of another network.
        """
        expected = {f"{k}.{n}" for k in ("master", "average") for n in self.masters} | {"steps"}
        found = {n for n in tensors if n == "steps" or n.startswith(("master.", "average."))}
        if expected != found:
            odd = sorted(expected ^ found)[:5]
            raise ValueError(
                f"state={odd}; its names must be those of the network: resume in its own folder"
            )
        for name, master in self.masters.items():
            for kind in ("master", "average"):
                value = check_tensor(f"{kind}.{name}", tensors[f"{kind}.{name}"])
                check_shape(f"{kind}.{name}", value, tuple(master.shape), "the parameter")
        for kind, optimizer in (("muon", self._muon), ("adam", self._adam)):
            _check_moments(optimizer, kind, tensors)
        if not torch.equal(tensors.get("hidden", self._hidden()).cpu(), self._hidden()):
            raise ValueError(
                f"hidden={sorted(self._parts)[:3]}; the state is of other `hidden` matrices, whose "
                "moments would be mixed up: name the same"
            )
        for name in self.masters:
            self.masters[name].copy_(tensors[f"master.{name}"])
            self.averages[name].copy_(tensors[f"average.{name}"])
        for kind, optimizer in (("muon", self._muon), ("adam", self._adam)):
            _restore(optimizer, kind, tensors)
        self.steps = int(tensors["steps"])
        self._publish()


def _check_hidden(hidden: set[str], network: nn.Module) -> None:
    parameters = dict(network.named_parameters())
    matrices = {name: p for name, p in parameters.items() if p.ndim == 2}
    if unknown := sorted(hidden - matrices.keys()):
        raise ValueError(
            f"hidden={unknown[:3]}; they must name matrices of the network: closest names are "
            f"{closest(unknown[0], matrices)}"
        )
    if not any(matrices[name].requires_grad for name in hidden):
        raise ValueError(
            f"hidden={sorted(hidden)[:3]}; one matrix at least must train: name one, or use "
            "torch.optim.AdamW"
        )


def _check_like(name: str, gradient: Tensor, master: Tensor) -> None:
    check_tensor(f"gradient of {name}", gradient)
    check_shape(f"gradient of {name}", gradient, tuple(master.shape), "the parameter")
    check_place(f"gradient of {name}", gradient, "the parameter", master)


def _states(optimizer: Optimizer) -> dict[int, dict[str, Tensor]]:
    """The state of each parameter that has moved, by its place in the optimizer."""
    members = [p for group in optimizer.param_groups for p in group["params"]]
    return {i: optimizer.state[p] for i, p in enumerate(members) if p in optimizer.state}


def _moments(
    optimizer: Optimizer, kind: str, tensors: dict[str, Tensor]
) -> Iterator[tuple[str, str, Tensor | None, Tensor]]:
    """Full name, own name, parameter and value of what a state holds for an optimizer."""
    members = dict(enumerate(p for group in optimizer.param_groups for p in group["params"]))
    for name, value in tensors.items():
        if name.startswith(f"{kind}."):
            _, place, key = name.split(".")
            yield name, key, members.get(int(place)), value


def _check_moments(optimizer: Optimizer, kind: str, tensors: dict[str, Tensor]) -> None:
    for name, key, member, value in _moments(optimizer, kind, tensors):
        if member is None or (key != "step" and value.shape != member.shape):
            raise ValueError(
                f"{name}=tensor of shape {tuple(value.shape)}; no parameter of this optimizer has "
                "it: make it with the same `hidden` as the one that gave the state"
            )


def _restore(optimizer: Optimizer, kind: str, tensors: dict[str, Tensor]) -> None:
    optimizer.state.clear()  # a state from before a parameter moved holds nothing of it
    for _, key, member, value in _moments(optimizer, kind, tensors):
        assert member is not None
        device = value.device if key == "step" else member.device
        optimizer.state[member][key] = value.to(device, copy=True)
