"""Batches of many sizes, shapes and numbers of views, in the order of a training."""

from recon_eval.synthetic.stream import Batch

SQUARE = tuple(
    Batch(height=224, width=224, views=views, scenes=scenes)
    for views, scenes in ((8, 1), (4, 2), (2, 4), (8, 1), (4, 2), (8, 1))
)
"""The usual size."""
OTHERS = (
    Batch(height=182, width=280, views=4, scenes=2),
    Batch(height=280, width=182, views=4, scenes=2),
    Batch(height=112, width=112, views=8, scenes=4),
    Batch(height=154, width=224, views=8, scenes=1),
    Batch(height=224, width=154, views=4, scenes=2),
    Batch(height=336, width=336, views=4, scenes=1),
    Batch(height=196, width=252, views=8, scenes=1),
    Batch(height=182, width=280, views=8, scenes=1),
    Batch(height=112, width=112, views=16, scenes=2),
    Batch(height=168, width=308, views=4, scenes=2),
    Batch(height=448, width=448, views=2, scenes=1),
    Batch(height=224, width=224, views=16, scenes=1),
    Batch(height=252, width=196, views=4, scenes=2),
    Batch(height=336, width=504, views=2, scenes=1),
    Batch(height=504, width=336, views=2, scenes=1),
    Batch(height=112, width=112, views=32, scenes=1),
)
"""Other sizes, shapes and numbers of views, at about the same number of patches."""


def mixed_cycle() -> tuple[Batch, ...]:
    """Two square batches of the usual size, one of another, and so on."""
    return tuple(
        batch
        for turn, other in enumerate(OTHERS)
        for batch in (SQUARE[2 * turn % 6], SQUARE[(2 * turn + 1) % 6], other)
    )


def small_cycle() -> tuple[Batch, ...]:
    """112 pixels alone, where steps are cheap: the start of a training from nothing."""
    return tuple(
        Batch(height=112, width=112, views=views, scenes=24 // views)
        for views in (2, 4, 3, 4, 1, 6, 2, 4, 3, 4, 2, 6)
    )


def larger(cycle: tuple[Batch, ...], times: int) -> tuple[Batch, ...]:
    """The same cycle with so many times the scenes in each step, for a faster device."""
    return tuple(
        Batch(height=b.height, width=b.width, views=b.views, scenes=b.scenes * times) for b in cycle
    )
