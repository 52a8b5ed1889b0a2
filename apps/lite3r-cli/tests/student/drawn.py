"""Views of noise, and recipes for them."""

from dataclasses import replace
from typing import Any

import torch

from lite3r.student.recipes import Recipe, tiles

IMAGES = torch.rand(1, 2, 3, 140, 126, generator=torch.Generator().manual_seed(0))


def tiled(**changes: Any) -> Recipe:
    return replace(tiles(), **changes)


def content(**changes: Any) -> Recipe:
    """A content order small enough that some blocks of two small images are left out."""
    return replace(Recipe(), keep=2, opened=2, summary=(4, 16), fp8="none", **changes)
