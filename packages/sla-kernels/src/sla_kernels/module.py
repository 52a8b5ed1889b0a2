"""Sparse linear attention as a module: selection, both branches and the trained projection."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sla_kernels.attention import Sum, attend
from sla_kernels.backend import BACKENDS, Selection, resolve
from sla_kernels.calibration import Moments, Understated
from sla_kernels.linear.rule import check_scope_of_rows, rule_of
from sla_kernels.order.given import Ordering
from sla_kernels.runtime.autocast import under_autocast
from sla_kernels.runtime.checks import (
    check_attention_inputs,
    check_choice,
    check_defaults,
    check_positive,
)
from sla_kernels.search.choice import RowChoice
from sla_kernels.search.choice import choose as choose_rows
from sla_kernels.select.choice import Choice
from sla_kernels.select.choice import choose as choose_blocks
from sla_kernels.summary import SummarySelection

STORED = ("directions", "offsets")  # found once: by `calibrated`, by `corrected`
MIX_LOGIT = 4.0  # sigmoid: 0.98 of the sparse branch


class SparseLinearAttention(nn.Module):
    """Replace dense attention by kept key blocks plus a projected linear branch.

    out = o_s + proj_l(o_l), see `sla_attention`; the arguments are those of `select_blocks` and
    `sla_attention`. `proj_l` starts at zero, so that at first the module is its sparse branch.
    Parameter names are those of thu-ml/SLA: `proj_l.weight` (d, d) and `proj_l.bias` (d). Without
    a linear branch there are no parameters.

    With `order="content"` or a `summary` the sparse branch is that of `select_rows`: few exact
    blocks and summaries of all other keys in one softmax. The axes of its order are computed at
    every call until `calibrated` stores them in the buffer `directions`, and its cells say what
    they say until `corrected` stores what they understate in `offsets`; both are part of the state
    dict.

    With `combine="alpha"` and the number of `heads`, out = a o_s + (1 - a) proj_l(o_l) with a ratio
    a = sigmoid(mix_logit) learned for each head, 0.98 at first.

    Raises ValueError where an argument cannot work.
    """

    def __init__(
        self,
        head_dim: int,
        *,
        keep: float | int,
        block: tuple[int, int] = (128, 64),
        feature_map: str = "softmax",
        linear: str | None = "all",
        combine: str = "add",
        heads: int | None = None,
        order: str | Ordering = "sequence",
        summary: int | tuple[int, ...] | None = None,
        opened: int = 20,
        axes: int = 8,
        negligible: float = 0.0,
        estimator: str = "mean",
        top_p: float = 1.0,
        keep_diagonal: bool = False,
        scale: float | None = None,
        eps: float = 1e-5,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_positive("head_dim", head_dim)
        check_choice("backend", backend, BACKENDS)
        _check_mix(combine, heads, linear)
        self.head_dim = head_dim
        self.choice: Choice | RowChoice
        if order == "sequence" and summary is None:
            self.choice = Choice(
                keep=keep,
                block=block,
                estimator=estimator,
                top_p=top_p,
                keep_diagonal=keep_diagonal,
                negligible=negligible,
                scale=scale,
            )
        else:
            check_defaults(estimator=estimator, top_p=top_p, keep_diagonal=keep_diagonal)
            self.choice = RowChoice(
                keep=keep,
                block=block,
                order=order,
                summary=summary,
                opened=opened,
                axes=axes,
                scale=scale,
            )
        self.rule = rule_of(linear, feature_map, eps, negligible)
        if isinstance(self.choice, RowChoice):
            check_scope_of_rows(self.rule)
        self.directions: Tensor | None
        self.register_buffer("directions", None)
        self.offsets: Tensor | None
        self.register_buffer("offsets", None)
        self.anchor: Tensor  # goes to the device of the module, which may have no parameters
        self.register_buffer("anchor", torch.empty(0), persistent=False)
        self.watch: Moments | Understated | None = None
        self.scale = head_dim**-0.5 if scale is None else scale
        self.backend = backend
        self.observer: Callable[[Selection], object] | None = None
        self.proj_l = None if linear is None else nn.Linear(head_dim, head_dim)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        self.mix_logit = None if heads is None else nn.Parameter(torch.full((heads,), MIX_LOGIT))

    def forward(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b g m d"],
        v: Float[Tensor, "b g m d"],
        pinned: Int64[Tensor, " pinned"] | None = None,
    ) -> Float[Tensor, "b h n d"]:
        """Return the attention output, shaped and typed like q (under autocast, its type)."""
        q, k, v = under_autocast(q, k, v)
        check_attention_inputs(q, k, v)
        self._check_width(q)
        selection = self._choose(q, k, v, pinned)
        if self.watch is not None and isinstance(selection, SummarySelection):
            self.watch.add(q, k, v, selection, self.scale)
        if self.observer is not None:
            self.observer(selection)
        runs = resolve(self.backend, q, selection, linear=self.rule is not None)
        return attend(q, k, v, selection, self.scale, self.rule, self._sum(), runs)

    def selection(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b g m d"],
        v: Float[Tensor, "b g m d"],
        pinned: Int64[Tensor, " pinned"] | None = None,
    ) -> Selection:
        """Return what `forward` attends for these queries, keys and values."""
        q, k, v = under_autocast(q, k, v)
        check_attention_inputs(q, k, v)
        self._check_width(q)
        return self._choose(q, k, v, pinned)

    def _choose(self, q: Tensor, k: Tensor, v: Tensor, pinned: Tensor | None) -> Selection:
        if isinstance(self.choice, Choice):
            return choose_blocks(q, k, pinned, self.choice)
        return choose_rows(q, k, v, pinned, self.choice, self.directions, self.offsets)

    @torch.inference_mode(False)  # else nothing could be loaded into that room again
    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Make room for what was calibrated elsewhere."""
        for name in STORED:
            if getattr(self, name) is None and (found := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(found, device=self.anchor.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        """Say the settings."""
        settings = {**vars(self.choice), **self._linear_settings(), "backend": self.backend}
        return ", ".join(f"{name}={value!r}" for name, value in settings.items())

    def _linear_settings(self) -> dict[str, object]:
        if self.rule is None:
            return {"linear": None}
        scope, feature_map, eps = self.rule
        return {"linear": scope, "feature_map": feature_map, "eps": eps}

    def _check_width(self, q: Tensor) -> None:
        if q.shape[-1] != self.head_dim:
            raise ValueError(
                f"q has head width {q.shape[-1]}; this module was made for {self.head_dim}: "
                f"pass head_dim={q.shape[-1]} when it is made"
            )
        if self.mix_logit is not None and q.shape[1] != len(self.mix_logit):
            raise ValueError(
                f"q has {q.shape[1]} heads; this module was made for {len(self.mix_logit)}: "
                f"pass heads={q.shape[1]} when it is made"
            )

    def _sum(self) -> Sum:
        """How the branches are added now."""
        if self.proj_l is None:
            return Sum()
        mix = None if self.mix_logit is None else self.mix_logit.sigmoid()
        return Sum(self.proj_l.weight, self.proj_l.bias, mix)


def _check_mix(combine: str, heads: int | None, linear: str | None) -> None:
    check_choice("combine", combine, ("add", "alpha"))
    if heads is not None:
        check_positive("heads", heads)
    if (combine == "alpha") != (heads is not None):
        raise ValueError(
            f"combine={combine!r} with heads={heads!r}; 'alpha' needs the number of heads, "
            "'add' takes none: pass heads with 'alpha' alone"
        )
    if linear is None and heads is not None:
        raise ValueError(
            "linear=None with combine='alpha'; the mix needs a linear branch: pass linear='all'"
        )


W = TypeVar("W", Moments, Understated)


@contextmanager
def observed_selections(model: nn.Module) -> Iterator[list[Selection]]:
    """Collect the selections that the attentions inside a model make within this context.

    with observed_selections(model) as found:
        model(images)
    density = sum(selection.density for selection in found) / len(found)
    """
    found: list[Selection] = []
    parts = [part for part in model.modules() if isinstance(part, SparseLinearAttention)]
    before = [part.observer for part in parts]
    for part in parts:
        part.observer = found.append
    try:
        yield found
    finally:
        for part, observer in zip(parts, before, strict=True):
            part.observer = observer


@contextmanager
def calibrated(model: nn.Module) -> Iterator[None]:
    """Store the axes of every content order inside a model, from what it is run on in here.

    with calibrated(model):
        model(images)

    The axes are the principal ones of all keys that each attention saw; what was stored before
    counts no more. Raises ValueError, and changes nothing, where an attention was not run.
    """

    def found(moments: Moments, choice: RowChoice) -> Tensor:
        return moments.axes(choice.axes)

    with _stored(model, "directions", Moments, lambda choice: choice.order == "content", found):
        yield


@contextmanager
def corrected(model: nn.Module) -> Iterator[None]:
    """Store what the cells of every summary inside a model understate, as `calibrated` does axes.

    The axes of its orders should be stored already. One number for each key head and size of cell
    brings the answers to some queries nearest to those of dense attention, which is computed for
    these. Raises ValueError, and changes nothing, where an attention was not run.
    """

    def found(understated: Understated, choice: RowChoice) -> Tensor:
        return understated.offsets(len(choice.sizes))

    with _stored(model, "offsets", Understated, lambda choice: choice.summary is not None, found):
        yield


@contextmanager
def _stored(
    model: nn.Module,
    buffer: str,
    kind: type[W],
    concerned: Callable[[RowChoice], bool],
    found: Callable[[W, RowChoice], Tensor],
) -> Iterator[None]:
    """Watch the attentions that are concerned, and store in all of them what is found at the end.

    Nothing is stored where one of them was not run.
    """
    parts: list[tuple[str, SparseLinearAttention, RowChoice, W]] = []
    for name, part in model.named_modules():
        choice = part.choice if isinstance(part, SparseLinearAttention) else None
        if isinstance(choice, RowChoice) and concerned(choice):
            part.watch = watch = kind()
            parts.append((name, part, choice, watch))
    try:
        yield
        for name, _, _, watch in parts:
            if watch.count == 0:
                raise ValueError(
                    f"attention {name!r} saw no keys; every one must be run to be calibrated: "
                    "run the model inside the context"
                )
        made = [found(watch, choice) for _, _, choice, watch in parts]
        with torch.inference_mode(False):  # else they could not be trained with, or loaded into
            for (_, part, *_), value in zip(parts, made, strict=True):
                setattr(part, buffer, value.clone())
    finally:
        for _, part, *_ in parts:
            part.watch = None
