"""The kernel that scores candidates, in Triton's interpreter, against PyTorch's operations."""

import pytest
import torch

from sla_kernels.search.launch import cell_mass
from sla_kernels.search.walk import Asking, Cells, _mass

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="the interpreter is for machines without a GPU"
)


@pytest.mark.parametrize(("candidates", "parts", "width"), [(70, 4, 32), (9, 1, 16), (64, 2, 96)])
def test_masses_equal_those_of_pytorch(candidates: int, parts: int, width: int) -> None:
    """Some candidates do not exist, some parts have no queries, one block has no candidate."""
    heads, cells, blocks = 2, 50, 5
    drawn = torch.Generator().manual_seed(0)
    keys = torch.randn(1, heads, cells, width, generator=drawn)
    count = torch.randint(1, 9, (cells,), generator=drawn).float()
    table = Cells.of(keys, torch.rand(1, heads, cells, generator=drawn), count)
    at = torch.randint(0, cells + 1, (blocks, candidates), generator=drawn)
    at[:, 0] = 3
    pinned = torch.randn(blocks, parts, 1, generator=drawn)
    pinned[0] = -torch.inf
    pinned[1, -1] = torch.inf
    head = torch.randint(0, heads, (blocks, 1), generator=drawn)
    queries = torch.randn(blocks, parts, width, generator=drawn)
    asking = Asking(queries, pinned, head, torch.float32)
    expected = _mass(asking, table, at)
    found = cell_mass(queries, pinned, head, table.keys, table.logs, at)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    missing = torch.full_like(at, table.missing)
    assert not cell_mass(queries, pinned, head, table.keys, table.logs, missing).any()
