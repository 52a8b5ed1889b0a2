"""Large linear layers go through oneDNN, without anyone seeing a difference."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from recon_backbones.blocks import onednn

from .operators import Operators

pytestmark = pytest.mark.skipif(not onednn.AVAILABLE, reason="this PyTorch has no oneDNN")


def operations(run: Callable[[], object]) -> set[str]:
    with Operators() as seen:
        run()
    return {name for name in seen.names if "linear" in name or "mm" in name}


LAYER = nn.Linear(128, 256)


def forward(x: Tensor, layer: nn.Module = LAYER) -> Tensor:
    return onednn.by_onednn(layer, x)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_values_agree(bias: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "multiplies_bfloat16", lambda: True)
    layer = nn.Linear(128, 256, bias=bias).to(dtype)
    x = torch.randn(3, 50, 128).to(dtype)
    assert operations(lambda: forward(x, layer)) == {"mkldnn._linear_pointwise.default"}
    near = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(forward(x, layer), layer(x), rtol=near, atol=near)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_that_lie_apart_in_memory_give_the_same(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a checkpoint do, which are taken as they are."""
    monkeypatch.setattr(onednn, "multiplies_bfloat16", lambda: True)
    layer, apart = nn.Linear(128, 256).to(dtype), nn.Linear(128, 256)
    apart.weight = nn.Parameter(layer.weight.T.contiguous().T)
    apart.bias = nn.Parameter(torch.stack((layer.bias, torch.ones_like(layer.bias)), dim=1)[:, 0])
    x = torch.randn(128, 150).to(dtype).T
    assert operations(lambda: forward(x, apart)) == {"mkldnn._linear_pointwise.default"}
    near = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(forward(x, apart), layer(x), rtol=near, atol=near)


def test_gradients_small_layers_and_other_types_go_the_usual_way() -> None:
    large = torch.randn(200, 128)
    usual = [lambda: forward(large)]
    with torch.no_grad():
        usual += [
            lambda: forward(large[:2]),
            lambda: forward(large.double(), nn.Linear(128, 256).double()),
            lambda: forward(large.to("meta"), nn.Linear(128, 256, device="meta")),
        ]
        for run in usual[1:]:
            assert not any("mkldnn" in name for name in operations(run))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert forward(large).dtype == torch.bfloat16
    assert not any("mkldnn" in name for name in operations(usual[0]))
    forward(large).sum().backward()
    assert LAYER.weight.grad is not None
    LAYER.zero_grad()


def test_only_layers_on_a_cpu_are_watched() -> None:
    """To watch costs microseconds a call, for which a GPU, and all other calls, would wait."""
    seen = []

    class Watched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(torch._C._len_torch_function_stack())
            return x

    for device in ("cpu", "meta"):
        onednn.by_onednn(Watched(), torch.empty(1, device=device))
    assert seen == [1, 0] and torch._C._len_torch_function_stack() == 0


@torch.no_grad()
def test_hooks_still_see_the_layer() -> None:
    seen: list[Tensor] = []
    hook = LAYER.register_forward_hook(lambda _m, _i, out: seen.append(out))
    out = forward(torch.randn(200, 128))
    hook.remove()
    assert len(seen) == 1 and torch.equal(seen[0], out)


@torch.no_grad()
def test_operations_are_still_counted() -> None:
    x = torch.randn(2, 100, 128)
    with FlopCounterMode(display=False) as counter:
        forward(x)
    assert counter.get_total_flops() == 2 * 200 * 128 * 256


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")
def test_traces_hold_the_usual_operations() -> None:
    frozen = nn.Linear(128, 256).requires_grad_(False)
    x = torch.randn(200, 128)
    traced = torch.jit.trace(lambda x: forward(x, frozen), (x,), check_trace=False)
    assert "linear" in str(traced.graph) and "mkldnn" not in str(traced.graph)
