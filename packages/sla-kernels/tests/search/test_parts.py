"""Which queries a block of them is chosen for by."""

import pytest

from sla_kernels import select_rows

from ..cases import qkv


@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("block_q", [7, 16, 20, 24, 37, 40])
def test_a_block_of_any_length_is_chosen_for_by_its_own_queries(
    block_q: int, numba: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not numba:
        monkeypatch.setattr("sla_kernels.search.choose.passes_for", lambda *_: None)
    q, k, v = qkv(600, 600)
    settings = {
        "keep": 2,
        "summary": (4, 64),
        "opened": 2,
        "block": (block_q, 4),
        "order": "sequence",
    }
    plain = select_rows(q, k, v, **settings)
    for block in (0, 600 // block_q - 1):
        changed = q.clone()
        changed[:, :, block * block_q : (block + 1) * block_q] *= -5
        moved = (select_rows(changed, k, v, **settings).rows != plain.rows).any(3).any(1)[0]
        assert moved.nonzero()[:, 0].tolist() == [block]
