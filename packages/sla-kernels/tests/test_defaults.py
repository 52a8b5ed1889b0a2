"""What PyTorch makes unless told, numbers of another type or elsewhere, is the caller's matter."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from sla_kernels import (
    SparseLinearAttention,
    calibrate,
    observed_mass,
    select_blocks,
    sla_attention,
)

from .cases import qkv

ROWS = {"keep": 4, "block": (64, 4), "summary": (4, 64), "opened": 2, "axes": 4}


def blocks(**options: object) -> Callable[..., list[Tensor]]:
    def made(q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
        chosen = select_blocks(q, k, keep=0.3, block=(32, 16), **options)
        return [chosen.indices, sla_attention(q, k, v, selection=chosen)]

    return made


def rows(q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    q = q.detach().requires_grad_()
    out = sla_attention(q, k, v, order=lambda x: x[..., 0].argsort(1), linear=None, **ROWS)
    return [out.detach(), *torch.autograd.grad(out.sum(), q)]


def calibrated(q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    attention, found = SparseLinearAttention(32, order="content", linear=None, **ROWS), []
    for some in (800, 40):
        calibrate(attention, lambda some=some: attention(*(x[:, :, :some] for x in (q, k, v))))
        found += [attention.directions, attention.offsets]
    return found


def held(q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    attention = SparseLinearAttention(32, keep=0.3, block=(32, 16))
    with observed_mass(attention) as found:
        attention(q, k, v)
    return [torch.tensor([*found[""].values()], dtype=torch.float64, device="cpu")]


@pytest.fixture(params=[torch.float64, torch.bfloat16, "meta"], ids=str)
def default(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Sets another default when called. A device without numbers stands in for a GPU."""
    before = torch.get_default_dtype()
    if isinstance(request.param, str):
        yield lambda: torch.set_default_device(request.param)
    else:
        yield lambda: torch.set_default_dtype(request.param)
    torch.set_default_device(None)
    torch.set_default_dtype(before)


@pytest.mark.parametrize(
    "made",
    [blocks(top_p=0.9), blocks(estimator="subblock_lse"), rows, calibrated, held],
    ids=["top_p", "subblock_lse", "rows", "calibrated", "held"],
)
def test_defaults_of_pytorch_change_nothing(
    made: Callable[..., list[Tensor]], default: Callable[[], None]
) -> None:
    tokens = qkv(800, 800)
    plain = made(*tokens)
    default()
    for one, other in zip(made(*tokens), plain, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)
