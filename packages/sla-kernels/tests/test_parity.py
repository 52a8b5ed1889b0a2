"""Equal to the numbers that the kernels of thu-ml/SLA compute."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from sla_kernels import BlockSelection, select_blocks, sla_attention

TOLERANCE = 2e-6  # norm of the difference over the norm


def read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, "pt") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_the_folder_holds_cases(parity: Path) -> None:
    assert list(parity.glob("*.safetensors")), f"no .safetensors case in {parity}"


@pytest.mark.parametrize(
    "backend", ["reference", "eager", pytest.param("triton", marks=pytest.mark.nightly)]
)
def test_values_and_gradients(parity_case: Path, backend: str) -> None:
    meta, case = read(parity_case)
    leaves = ("q", "k", "v", "proj_l.weight", "proj_l.bias")
    q, k, v, weight, bias = (case[name].clone().requires_grad_() for name in leaves)
    selection = BlockSelection.from_mask(
        case["block_map"].bool(),
        block=(int(meta["block_q"]), int(meta["block_k"])),
        num_queries=q.shape[2],
        num_keys=k.shape[2],
    )
    out = sla_attention(
        q,
        k,
        v,
        selection=selection,
        weight=weight,
        bias=bias,
        feature_map=meta["feature_map"],
        linear=meta["linear"],
        eps=float(meta["eps"]),
        backend=backend,
    )
    out.backward(case["grad_out"])
    assert error(out.detach(), case["out"]) < TOLERANCE
    for name, leaf in zip(leaves, (q, k, v, weight, bias), strict=True):
        assert error(leaf.grad, case[f"grad.{name}"]) < TOLERANCE, name


def test_selection(parity_case: Path) -> None:
    meta, case = read(parity_case)
    block = (int(meta["block_q"]), int(meta["block_k"]))
    found = select_blocks(case["q"], case["k"], keep=float(meta["keep"]), block=block)
    assert torch.equal(found.block_mask(), case["block_map"].bool())
