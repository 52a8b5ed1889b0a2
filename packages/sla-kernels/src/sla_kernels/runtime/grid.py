"""How a launch is cut into programs, what their 32-bit offsets reach, and how tokens must lie."""

from torch import Tensor

LIMIT = 1 << 31  # of a grid's first axis, and of 32-bit offsets
MOST_TOKENS = 256  # in a tile


def grid(tiles: int, x: Tensor, parts: int = 1) -> tuple[int, int]:
    """Programs for the tiles of every head of x (b, h, n, d), and for parts of each tile.

    Raises ValueError where a GPU cannot count them.
    """
    programs = tiles * x.shape[0] * x.shape[1]
    if programs >= LIMIT:
        raise ValueError(
            f"{tuple(x.shape)} needs {programs} programs; a GPU counts fewer than {LIMIT}: "
            "pass the batch in parts"
        )
    return programs, parts


def within_reach(x: Tensor) -> Tensor:
    """Return x (b, h, n, d), or a copy where its tokens lie too far apart.

    Inside a tile offsets are 32 bit; between tiles, heads and batch entries 64.
    """
    span = (MOST_TOKENS - 1) * x.stride(2) + (x.shape[3] - 1) * x.stride(3)
    return x if span < LIMIT else x.contiguous()


def strided(x: Tensor) -> Tensor:
    """Return x (..., d), or a copy where the numbers of a token do not stand side by side."""
    return x if x.stride(-1) == 1 else x.contiguous()


def next_power(width: int) -> int:
    """The smallest power of two that is at least `width`, which is at least 1."""
    return 1 << (width - 1).bit_length()
