"""Orders on a GPU: those of the CPU, made without waiting for the host."""

import pytest
import torch

from sla_kernels import order_tokens

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("tokens", [37, 1374, 9001])
def test_a_gpu_puts_tokens_in_the_order_of_the_cpu(tokens: int) -> None:
    x, axes = torch.randn(2, tokens, 12), torch.eye(12)[:, :8]
    expected = order_tokens(x, (4, 64, 512), axes=axes).positions
    there, axes = x.cuda(), axes.cuda()
    order_tokens(there, (4, 64, 512), axes=axes)  # plans the steps of this length
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = order_tokens(there, (4, 64, 512), axes=axes).positions
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (found.cpu() == expected).float().mean() > 0.98  # sums may be rounded otherwise
    assert torch.equal(found.sort().values.cpu(), torch.arange(tokens).expand(2, -1))
