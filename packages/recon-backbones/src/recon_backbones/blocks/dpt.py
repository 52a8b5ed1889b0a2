"""The dense prediction trunk that turns four levels of patch tokens into one feature map.

Source: DPT, arXiv 2103.13413, in the form that VGGT and Depth Anything 3 use.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

Size = tuple[int, int]


def add_position(
    x: Float[Tensor, "b c y x"], aspect: float, *, gain: float = 0.1
) -> Float[Tensor, "b c y x"]:
    """Add to fresh activations, in place, where each cell lies in an image of the given aspect.

    The aspect is width over height; coordinates lie on the image's plane scaled to a unit diagonal.
    A quarter of the channels each: sin and cos of the column, sin and cos of the row, at
    frequencies 100^(-k / (channels/4)), times `gain`.
    """
    half, height, width = x.shape[1] // 2, x.shape[-2], x.shape[-1]
    diagonal = (aspect * aspect + 1) ** 0.5
    count = half // 2
    frequency = 100.0 ** -(torch.arange(count, dtype=torch.float32, device=x.device) / count)
    columns = gain * _wave(width, aspect / diagonal, frequency)
    rows = gain * _wave(height, 1 / diagonal, frequency)
    if x.stride(1) == 1:  # channels stand side by side, as convolutions on a CPU leave them
        return x.add_(_plane(columns, rows).to(x.dtype))
    x[:, :half] += columns[:, None, :].to(x.dtype)
    x[:, half:] += rows[:, :, None].to(x.dtype)
    return x


def _plane(
    columns: Float[Tensor, "c x"], rows: Float[Tensor, "c y"]
) -> Float[Tensor, "channels y x"]:
    """Both in one map with channels side by side: one long addition in place of many short ones."""
    across = torch.cat((columns, torch.zeros_like(columns)))
    down = torch.cat((torch.zeros_like(rows), rows))
    across, down = rearrange(across, "c x -> 1 x c"), rearrange(down, "c y -> y 1 c")
    return rearrange(across.contiguous() + down.contiguous(), "y x c -> c y x")


def _wave(count: int, span: float, frequency: Tensor) -> Tensor:
    """Sin and cos of `count` cell centers that spread over (-span, span): `2k count`."""
    edge = span * (count - 1) / count
    at = torch.linspace(-edge, edge, count, dtype=frequency.dtype, device=frequency.device)
    angle = torch.outer(frequency, at)
    return torch.cat((angle.sin(), angle.cos()))


def resize(x: Float[Tensor, "b c y x"], size: Size) -> Float[Tensor, "b c Y X"]:
    """Resample bilinearly, corners on corners."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class ResidualConvUnit(nn.Module):
    """Two 3x3 convolutions beside a skip: of the input ("plain") or its positive part ("relu")."""

    def __init__(self, features: int, *, skip: Literal["plain", "relu"]) -> None:
        super().__init__()
        self.skip = skip
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
        """Refine a feature map."""
        positive = F.relu(x)
        y: Tensor = self.conv2(F.relu_(self.conv1(positive)))
        return y.add_(positive if self.skip == "relu" else x)


class FusionBlock(nn.Module):
    """Join a coarser map with a lateral one and resample the result."""

    def __init__(self, features: int, *, skip: Literal["plain", "relu"], lateral: bool) -> None:
        super().__init__()
        if lateral:
            self.resConfUnit1 = ResidualConvUnit(features, skip=skip)
        self.resConfUnit2 = ResidualConvUnit(features, skip=skip)
        self.out_conv = nn.Conv2d(features, features, 1)

    def forward(
        self, top: Float[Tensor, "b c y x"], lateral: Tensor | None, size: Size
    ) -> Float[Tensor, "b c Y X"]:
        """Return (top + refined lateral), refined, at `size`.

        The 1x1 convolution runs before the resampling, on fewer pixels: the two commute, because
        bilinear weights sum to one.
        """
        if lateral is not None:
            top = top + self.resConfUnit1(lateral)
        return resize(self.out_conv(self.resConfUnit2(top)), size)


class DptTrunk(nn.Module):
    """Four token levels to four laterals, and laterals to one map; heads add what follows.

    `position` adds the sin-cos map to the levels. Outputs of single convolutions are overwritten
    by what follows: record laterals and fusion blocks instead. Weights live under `norm`,
    `projects`, `resize_layers` and `scratch`, as in the public checkpoints.
    """

    def __init__(
        self,
        width: int,
        features: int,
        out_channels: tuple[int, int, int, int],
        *,
        skip: Literal["plain", "relu"],
        norm: bool,
        position: bool,
    ) -> None:
        super().__init__()
        self.position = position
        self.norm: nn.Module = nn.LayerNorm(width) if norm else nn.Identity()
        self.projects = nn.ModuleList(nn.Conv2d(width, c, 1) for c in out_channels)
        first, second, _, last = out_channels
        self.resize_layers = nn.ModuleList(
            (
                nn.ConvTranspose2d(first, first, 4, stride=4),
                nn.ConvTranspose2d(second, second, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(last, last, 3, stride=2, padding=1),
            )
        )
        self.scratch = nn.ModuleDict()
        for level, channels in enumerate(out_channels, start=1):
            conv = nn.Conv2d(channels, features, 3, padding=1, bias=False)
            self.scratch[f"layer{level}_rn"] = conv
        self.scratch.update(fusion_blocks(features, skip=skip))

    def laterals(
        self, levels: Sequence[Float[Tensor, "b n c"]], grid: Size, aspect: float
    ) -> list[Tensor]:
        """Bring each token level to its own scale (4, 2, 1, 1/2 of the patch grid)."""
        maps = []
        for level, tokens in enumerate(levels):
            x = rearrange(self.norm(tokens), "b (y x) c -> b c y x", y=grid[0], x=grid[1])
            x = self.projects[level](x)
            if self.position:
                x = add_position(x, aspect)
            maps.append(self.scratch[f"layer{level + 1}_rn"](self.resize_layers[level](x)))
        return maps

    def fuse(self, laterals: Sequence[Tensor], suffix: str = "") -> Float[Tensor, "b c y x"]:
        """Join the laterals from coarse to fine; the result is twice the size of the finest."""
        top, lateral = laterals[3], None
        for level in (4, 3, 2, 1):
            below = laterals[level - 2] if level > 1 else None
            height, width = (2 * s for s in laterals[0].shape[-2:])
            size = (height, width) if below is None else (below.shape[-2], below.shape[-1])
            top = self.scratch[f"refinenet{level}{suffix}"](top, lateral, size)
            lateral = below
        return top

    def full_size(
        self,
        x: Float[Tensor, "b c y x"],
        size: Size,
        tails: Sequence[nn.Module],
        *,
        enrich: Callable[[Tensor, slice], Tensor] | None = None,
    ) -> list[Float[Tensor, "b e Y X"]]:
        """Bring features to image size and run every tail on them, one view at a time.

        Features at image size are the largest activation of all; only those of one view are alive.
        `enrich` changes them before the tails see them, given which rows they are.
        """
        found: list[list[Tensor]] = [[] for _ in tails]
        for i in range(len(x)):
            rows = slice(i, i + 1)
            wide = resize(x[rows], size)
            if enrich is not None:
                wide = enrich(wide, rows)
            for tail, outputs in zip(tails, found, strict=True):
                outputs.append(tail(wide))
        return [torch.cat(outputs) for outputs in found]


def fusion_blocks(
    features: int, *, skip: Literal["plain", "relu"], suffix: str = ""
) -> dict[str, nn.Module]:
    """Build the four fusion blocks of a top-down chain; the coarsest has no lateral unit."""
    return {
        f"refinenet{level}{suffix}": FusionBlock(features, skip=skip, lateral=level < 4)
        for level in (1, 2, 3, 4)
    }
