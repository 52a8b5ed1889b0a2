"""How much of dense attention the exact keys hold."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sla_kernels import SparseLinearAttention, observed_mass, select_blocks, select_rows
from sla_kernels.mass import QUERIES
from sla_kernels.search import choice

from .cases import qkv
from .test_memory import peak_bytes

ROWS = {"block": (16, 4), "order": "content", "summary": (4, 16), "opened": 2, "axes": 4}


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 120), more=st.sampled_from([0, 9]), pins=st.integers(0, 4),
    rows=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_keys_of_some_queries_are_their_rows_of_the_mask(
    n: int, more: int, pins: int, rows: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    q, k, v = qkv(n, n + more, h=4, g=2)
    pinned = torch.randperm(n)[: min(pins, n - 1)] if pins and not more else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "WORTH", 10.0)
        chosen = (
            select_rows(q, k, v, keep=2, pinned=pinned, **ROWS)
            if rows
            else select_blocks(q, k, keep=2, block=(32, 16), pinned=pinned)
        )
    some = torch.randint(0, n, (7,))
    assert torch.equal(chosen.keys_of(some), chosen.token_mask()[:, :, some])


@pytest.mark.parametrize("options", [{"block": (32, 16)}, {**ROWS, "linear": None}])
def test_the_mass_is_that_of_the_exact_keys(options: dict) -> None:
    q, k, v = qkv(QUERIES, QUERIES)
    attention = SparseLinearAttention(32, keep=0.25, **options)
    with observed_mass(attention) as found:
        attention(q, k, v)
    weights = (q @ k.mT * 32**-0.5).softmax(-1)
    kept = (weights * attention.selection(q, k, v).token_mask()).sum(-1).mean()
    assert found[""]["kept"] == pytest.approx(float(kept), rel=1e-5)
    assert found[""]["kept"] <= found[""]["best"] <= 1 + 1e-6


def test_arguments_may_be_given_by_name() -> None:
    q, k, v = qkv(100, 100)
    attention, found = SparseLinearAttention(32, keep=0.25, block=(32, 16)), []
    calls = (((q, k, v), {}), ((q,), {"v": v, "k": k}), ((), {"q": q, "k": k, "v": v}))
    for placed, named in calls:
        with observed_mass(attention) as one:
            attention(*placed, **named)
        found.append(one)
    assert found[0] == found[1] == found[2]


def test_the_mass_of_some_queries_makes_no_mask_of_all() -> None:
    q, k, v = qkv(4096, 4096)
    attention = SparseLinearAttention(32, keep=0.1)

    def look() -> None:
        with observed_mass(attention), torch.no_grad():
            attention(q, k, v)

    with torch.no_grad():
        alone = peak_bytes(lambda: attention(q, k, v))
    assert peak_bytes(look) - alone < 2 * 4096 * 4096 / 2  # of a mask of two heads, half
