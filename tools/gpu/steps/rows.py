"""One order, few exact blocks, summaries: each part beside dense attention."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu.clock import timed
from gpu.record import Record
from gpu.setting import Setting
from sla_kernels import order_tokens, principal_axes, select_rows, sla_attention

RECIPES = {"balanced": {"keep": 64, "opened": 20}, "fast": {"keep": 32, "opened": 16}}
SUMMARY = (4, 64, 512)
PLACE = 16  # tokens that are alike
SECONDS = 0.25  # what the repetitions of a row may take


def measure(setting: Setting, record: Record) -> None:
    """Order, choice, attention on what was chosen, all together; forward and with gradients.

    Rows are chosen however few tokens there are, so that it shows from how many on that pays.
    """
    lengths = (600,) if setting.rehearse else (2_748, 5_496, 10_992, 43_968, 137_400)
    for n in lengths:
        q, k, v = draw(n, setting)
        axes = principal_axes(k[:, :, :20_000].transpose(1, 2).flatten(2).float(), 16)
        for what, fn in parts(q, k, v, axes).items():
            record.row({"tokens": n, "what": what, "pass": "forward"}, quietly(fn, setting.device))
        for what, attend in wholes(axes).items():
            if what == "dense" and n > 100_000:
                continue  # four seconds a call
            both = partial(with_gradients, attend, q, k, v)
            run = partial(timed, both, setting.device, seconds=SECONDS)
            record.row({"tokens": n, "what": what, "pass": "both"}, run)
        del q, k, v


def draw(n: int, setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of tokens that come in groups."""
    heads, width = (2, 32) if setting.rehearse else (16, 64)
    dtype = torch.float32 if setting.rehearse else torch.bfloat16
    shape = (1, heads, n, width)
    places = torch.randn(1, heads, -(-n // PLACE), width, device=setting.device)
    alike = places[:, :, torch.arange(n, device=setting.device) % places.shape[2]]
    made = (alike + 0.5 * torch.randn(shape, device=setting.device) for _ in range(3))
    q, k, v = (x.to(dtype) for x in made)
    return q, k, v


def parts(q: Tensor, k: Tensor, v: Tensor, axes: Tensor) -> dict[str, Callable[[], object]]:
    """What is timed forward."""
    found: dict[str, Callable[[], object]] = {
        what: partial(attend, q, k, v) for what, attend in wholes(axes).items()
    }
    side_by_side = k.transpose(1, 2).flatten(2)
    found["order"] = lambda: order_tokens(side_by_side, SUMMARY, axes=axes.to(k.dtype))
    for name, recipe in RECIPES.items():
        choose = partial(select_rows, q, k, v, **recipe, summary=SUMMARY, axes=axes)
        found[f"{name}, order and choice"] = choose
        found[f"{name}, means and attention"] = partial(attend_chosen, q, k, v, cache(choose))
    return found


def attend_chosen(q: Tensor, k: Tensor, v: Tensor, chosen: Callable[[], Any]) -> Tensor:
    """Attention alone: the choice is made when it is first asked for."""
    return sla_attention(q, k, v, selection=chosen(), linear=None)


def wholes(axes: Tensor) -> dict[str, Callable[..., Tensor]]:
    """Whole attentions."""
    found: dict[str, Callable[..., Tensor]] = {"dense": F.scaled_dot_product_attention}
    for name, recipe in RECIPES.items():
        found[name] = partial(
            sla_attention, **recipe, block=(64, 4), order="content", summary=SUMMARY, axes=axes,
            linear=None,
        )  # fmt: skip
    return found


def quietly(fn: Callable[[], object], device: str) -> Callable[[], dict[str, Any]]:
    """Time without gradients."""

    def run() -> dict[str, Any]:
        with torch.inference_mode():
            return timed(fn, device, seconds=SECONDS)

    return run


def with_gradients(attend: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor) -> None:
    """One forward and one backward pass."""
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]
    out = attend(*leaves)
    torch.autograd.grad(out, leaves, torch.ones_like(out))
