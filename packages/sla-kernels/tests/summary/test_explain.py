"""What `explain` says of a selection with summaries."""

import pytest

from sla_kernels import explain, select_rows

from .selections import draw, select


@pytest.mark.parametrize(("order", "said"), [("content", "its own"), ("sequence", "sequence")])
def test_explain_looks_at_the_order_of_a_selection(order: str, said: str) -> None:
    q, k, v = draw(515, 515)
    selection = select_rows(q, k, v, keep=4, block=(32, 4), order=order, summary=(4, 32))
    found = explain(q, k, selection=selection)
    assert found.seen is not None
    assert found.seen.order == said


def test_explain_says_what_a_query_sees() -> None:
    q, k, _ = draw(2000, 2000)
    options = {"keep": 4, "block": (16, 4), "order": "content", "summary": (4, 32, 256)}
    found = explain(q, k, **options, opened=4)
    assert found.seen.exact == 16
    assert (
        found.seen.summaries + 16
        == select(q, k, k, keep=4, summary=(4, 32, 256), opened=4).keys_seen
    )
    assert found.seen.share < 0.2
    assert "content order" in str(found)
    assert "16 keys exactly" in str(found)
