"""Sparse linear attention as a module: selection, both branches and the trained projection."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sla_kernels.attention import sla_attention
from sla_kernels.autocast import under_autocast
from sla_kernels.backend import BACKENDS
from sla_kernels.checks import check_block, check_choice, check_fraction, check_keep
from sla_kernels.linear.public import check_linear_arguments
from sla_kernels.select import select_blocks
from sla_kernels.select.scores import ESTIMATORS

MIX_LOGIT = 4.0  # sigmoid: 0.98 of the sparse branch


class SparseLinearAttention(nn.Module):
    """Replace dense attention by kept key blocks plus a projected linear branch.

    out = o_s + proj_l(o_l), see `sla_attention`; the arguments are those of `select_blocks` and
    `sla_attention`. `proj_l` starts at zero, so that at first the module is its sparse branch.
    Parameter names are those of thu-ml/SLA: `proj_l.weight` (d, d) and `proj_l.bias` (d). Without
    a linear branch there are no parameters.

    With `combine="alpha"` and the number of `heads`, out = a o_s + (1 - a) proj_l(o_l) with a ratio
    a = sigmoid(mix_logit) learned for each head, 0.98 at first.
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
        negligible: float = 0.0,
        estimator: str = "mean",
        top_p: float = 1.0,
        keep_diagonal: bool = False,
        scale: float | None = None,
        eps: float = 1e-5,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_keep(keep)
        check_block(block)
        check_fraction("top_p", top_p, low_open=True)
        check_fraction("negligible", negligible, low_open=False)
        check_choice("estimator", estimator, tuple(ESTIMATORS))
        check_choice("backend", backend, BACKENDS)
        check_choice("combine", combine, ("add", "alpha"))
        check_linear_arguments(linear, feature_map, negligible, None, None, head_dim, eps)
        if (combine == "alpha") != (heads is not None):
            raise ValueError(
                f"combine={combine!r} with heads={heads!r}; 'alpha' needs the number of heads, "
                "'add' does not take it"
            )
        self.head_dim = head_dim
        self.selecting: dict[str, Any] = {
            "keep": keep,
            "block": block,
            "estimator": estimator,
            "top_p": top_p,
            "keep_diagonal": keep_diagonal,
            "negligible": negligible,
            "scale": scale,
        }
        self.attending: dict[str, Any] = {
            "feature_map": feature_map,
            "linear": linear,
            "scale": scale,
            "eps": eps,
            "backend": backend,
        }
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
        if q.shape[-1] != self.head_dim:
            raise ValueError(
                f"q has head width {q.shape[-1]}; this module was made for {self.head_dim}"
            )
        q, k, v = under_autocast(q, k, v)
        selection = select_blocks(q, k, pinned=pinned, **self.selecting)
        weight, bias = (
            (None, None) if self.proj_l is None else (self.proj_l.weight, self.proj_l.bias)
        )
        mix = None if self.mix_logit is None else self.mix_logit.sigmoid()
        out = sla_attention(
            q, k, v, selection=selection, weight=weight, bias=bias, mix=mix, **self.attending
        )
        assert isinstance(out, Tensor)
        return out

    def extra_repr(self) -> str:
        """Say the settings."""
        settings = {**self.selecting, **self.attending}
        return ", ".join(f"{name}={value!r}" for name, value in settings.items())
