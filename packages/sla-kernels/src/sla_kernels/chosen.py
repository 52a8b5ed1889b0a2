"""The selection that is given, or the one that settings choose: blocks in sequence, or rows."""

from jaxtyping import Float, Int64
from torch import Tensor

from sla_kernels.backend import Selection
from sla_kernels.order.given import Ordering
from sla_kernels.search.choice import choose_by as choose_rows_by
from sla_kernels.select.choice import Choice
from sla_kernels.select.choice import choose as choose_blocks
from sla_kernels.select.selection import BlockSelection

DEFAULTS = {  # of `sla_attention` and `explain`
    "block": (128, 64), "order": "sequence", "summary": None, "opened": 20, "axes": 8,
    "pinned": None, "negligible": 0.0,
}  # fmt: skip


def given_or_chosen(
    selection: Selection | None,
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b g m d"],
    v: Float[Tensor, "b g m d"],
    *,
    keep: float | int | None,
    block: tuple[int, int],
    order: str | Ordering,
    summary: int | tuple[int, ...] | None,
    opened: int,
    axes: int | Float[Tensor, "c a"],
    pinned: Int64[Tensor, " pinned"] | None,
    scale: float | None,
    negligible: float = 0.0,
) -> Selection:
    """Return the selection if one is given, checked, or choose one by `keep` and the settings.

    The tensors were checked by whoever calls this.

    Raises ValueError unless exactly one of `selection` and `keep` is given and fits, and for
    settings of a choice beside a selection.
    """
    if (selection is None) == (keep is None):
        raise ValueError(
            f"keep={keep!r} with {'no' if selection is None else 'a'} selection; one must be "
            "given: pass exactly one"
        )
    if selection is not None:
        _refuse(
            block=block, order=order, summary=summary, opened=opened, axes=axes, pinned=pinned,
            negligible=negligible,
        )  # fmt: skip
        check_selection(selection, q, k)
        return selection
    assert keep is not None
    if order == "sequence" and summary is None:
        tiles = Choice(keep=keep, block=block, negligible=negligible, scale=scale)
        return choose_blocks(q, k, pinned, tiles)
    return choose_rows_by(
        q, k, v, keep=keep, block=block, order=order, summary=summary, opened=opened, axes=axes,
        pinned=pinned, scale=scale,
    )  # fmt: skip


def _refuse(**settings: object) -> None:
    """Refuse settings of a choice, other than those of who gives none."""
    for name, value in settings.items():
        plain, usual = tuple(value) if isinstance(value, list) else value, DEFAULTS[name]
        comparable = isinstance(plain, (int, float, str, tuple))
        if plain is not usual and not (comparable and plain == usual):
            shown = "..." if isinstance(value, Tensor) else repr(value)
            raise ValueError(
                f"{name}={shown} with a selection; it belongs to that: give it where that is made"
            )


def check_selection(selection: Selection, q: Tensor, k: Tensor) -> None:
    """Refuse a selection made for tensors of other sizes, or on another device."""
    if isinstance(selection, BlockSelection):
        heads, device = tuple(selection.indices.shape[:2]), selection.indices.device
    else:
        heads, device = selection.batch_heads, selection.outside.device
        if selection.key_heads != k.shape[1]:
            raise ValueError(
                f"k has {k.shape[1]} heads and those of the selection were {selection.key_heads}; "
                "cells are weighted by head, so they must agree: make it anew with select_rows"
            )
    made_for = (*heads, selection.num_queries, selection.num_keys)
    given = (q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    if made_for != given:
        raise ValueError(
            f"selection was made for (b, h, n, m) = {made_for} but q and k have {given}; they "
            "must agree: make it anew with select_blocks or select_rows"
        )
    if device != q.device:
        raise ValueError(
            f"selection is on {device} but q on {q.device}; they must agree: "
            "make it anew with select_blocks or select_rows"
        )
