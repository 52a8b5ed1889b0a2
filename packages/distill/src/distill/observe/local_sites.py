"""Run modules of the student inside the teacher's pass, and take their gradients at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.observe.reading import LocalSite
from distill.record.comparison import pair_losses
from distill.record.names import find_module
from distill.record.pairs import Pair, Tap
from distill.record.recorder import Consumer, chosen_tensor, usable


class LocalSites:
    """The sites of all objectives that are learned site by site.

    - `student`: holds the modules to run.
    - `sites`: what is compared.

    Raises ValueError if a module does not exist, or nothing in it trains.
    """

    def __init__(self, student: nn.Module, sites: Sequence[LocalSite]) -> None:
        self._sites = [_Site(site, student) for site in sites]
        self.learns = False

    def consumers(self) -> list[tuple[Tap, Consumer]]:
        """Return what is to be called for each run of a module of the teacher."""
        return [(site.pair.teacher_tap, self._bound(site)) for site in self._sites]

    def take(self) -> dict[str, dict[Pair, Tensor]]:
        """Return the loss of every pair by objective, and forget them.

        In a training pass each depends on the parameters of its site, with the gradient that
        was taken when the site ran.
        """
        losses: dict[str, dict[Pair, Tensor]] = {}
        for site in self._sites:
            losses.setdefault(site.objective, {})[site.pair] = torch.stack(site.losses).mean()
            site.losses.clear()
        return losses

    def _bound(self, site: "_Site") -> Consumer:
        return lambda args, kwargs, output: site.run(args, kwargs, output, learns=self.learns)


class _Site:
    def __init__(self, site: LocalSite, student: nn.Module) -> None:
        self.pair, self.objective = site.pair, site.objective
        self.losses: list[Tensor] = []
        self._loss = site.loss
        self._module = find_module(student, site.pair.student, "student")
        self._parameters = [p for p in self._module.parameters() if p.requires_grad]
        if not self._parameters:
            raise ValueError(
                f"student={site.pair.student!r}; nothing trains in this module, and a local "
                "objective teaches nothing else: leave its pair out, or let something train"
            )

    def run(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, *, learns: bool
    ) -> None:
        """Compare the student's module with what the teacher's just put out."""
        torch.clear_autocast_cache()  # a cached weight would lead into a graph that is gone
        args, kwargs, output = _usable((args, kwargs, output))
        with torch.inference_mode(False), torch.set_grad_enabled(learns):
            given = [(x, x._version) for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
            loss = self._compare(self._module(*args, **kwargs), output)
            if any(tensor._version != version for tensor, version in given):
                raise ValueError(
                    f"student={self.pair.student!r}; it overwrites its input in place, as the "
                    "teacher's may do before it, so both would see other inputs: use "
                    "AttentionOutputs, or let the module copy its input"
                )
            self.losses.append(with_gradients(loss, self._parameters) if learns else loss)
        torch.clear_autocast_cache()

    def _compare(self, found: Any, output: Any) -> Tensor:
        pair = self.pair
        student = {pair.student_tap: [chosen_tensor(found, pair.student_tap, "student")]}
        teacher = {pair.teacher_tap: [chosen_tensor(output, pair.teacher_tap, "teacher")]}
        return pair_losses([pair], self._loss, student, teacher)[pair]


def _usable(value: Any) -> Any:
    """Arguments or outputs, with copies of the tensors that were made under inference mode."""
    if isinstance(value, Tensor):
        return usable(value)
    if type(value) in (tuple, list):
        return type(value)(map(_usable, value))
    return {k: _usable(v) for k, v in value.items()} if type(value) is dict else value


def with_gradients(
    loss: Float[Tensor, ""], parameters: Sequence[nn.Parameter]
) -> Float[Tensor, ""]:
    """Take the gradients of a loss and free its graph; return it with these gradients attached.

    The backward pass of what is returned multiplies them by the incoming gradient.

    Raises ValueError if the loss depends on none of the parameters.
    """
    if not loss.requires_grad:
        raise ValueError(
            f"parameters={len(parameters)} of them; the local loss does not depend on any "
            "parameter: pair a module that holds what trains"
        )
    found = torch.autograd.grad(loss, list(parameters), allow_unused=True)
    used = [(p, g) for p, g in zip(parameters, found, strict=True) if g is not None]
    gradients = [gradient for _, gradient in used]
    value: Tensor = _WithGradients.apply(  # type: ignore[no-untyped-call]
        loss.detach(), gradients, *[parameter for parameter, _ in used]
    )
    return value


class _WithGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *[grad.to(gradient) * gradient for gradient in ctx.gradients]
