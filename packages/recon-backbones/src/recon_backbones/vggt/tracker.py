"""VGGT's point tracker: correlation, update, repeat (after CoTracker, arXiv 2307.07635)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.blocks.transformer import Mlp
from recon_backbones.vggt.config import TrackConfig
from recon_backbones.vggt.update_former import UpdateFormer

_STRIDE = 2  # the feature map is half the image size
_SPAN = 518.0  # pixels that flow is divided by


class Tracks(NamedTuple):
    """Pixel tracks after every pass, `b v p 2` (x, y); visibility and confidence, `b v p`."""

    passes: list[Float[Tensor, "b v p 2"]]
    visibility: Float[Tensor, "b v p"]
    confidence: Float[Tensor, "b v p"]


class Tracker(nn.Module):
    """Follow points of the first view through all views."""

    def __init__(self, config: TrackConfig) -> None:
        super().__init__()
        c, width = config.features, config.token_width
        self.config = config
        self.corr_mlp = Mlp(config.levels * config.window, config.hidden, c)
        self.query_ref_token = nn.Parameter(torch.zeros(1, 2, width))
        self.updateformer = UpdateFormer(config)
        self.fmap_norm = nn.LayerNorm(c)
        self.ffeat_norm = nn.GroupNorm(1, c)
        self.ffeat_updater = nn.Sequential(nn.Linear(c, c), nn.GELU())
        self.vis_predictor = nn.Sequential(nn.Linear(c, 1))
        self.conf_predictor = nn.Sequential(nn.Linear(c, 1))

    def forward(
        self, features: Float[Tensor, "b v c y x"], queries: Float[Tensor, "b p 2"]
    ) -> Tracks:
        """Track query pixels (x, y) of the first view."""
        _, v, c, height, width = features.shape
        features = self.fmap_norm(rearrange(features, "b v c y x -> b v y x c"))
        features = rearrange(features, "b v y x c -> b v c y x")
        pyramid = _pyramid(rearrange(features, "b v c y x -> (b v) c y x"), self.config.levels)
        start = (queries / _STRIDE)[:, None]  # [b 1 p 2]
        at = start.expand(-1, v, -1, -1)
        here = sample(features[:, 0], start[:, 0][:, None], padding="border")  # [b c 1 p]
        feature = repeat(here[:, :, 0], "b c p -> b v p c", v=v)
        offset = position_at(start[:, 0], (height, width), self.config.token_width)[:, None]
        which = torch.tensor([0] + [1] * (v - 1), device=at.device)
        offset = offset.to(features.dtype) + self.query_ref_token[:, which][:, :, None]
        passes = []
        for _ in range(self.config.iterations):
            at = at.detach()  # a gradient through fast waves says nothing; each pass learns alone
            related = self.corr_mlp(self._correlate(pyramid, feature, at))
            flow = at - at[:, :1]
            token = torch.cat(
                (embed_flow(flow, c // 2), flow / _SPAN, flow / _SPAN, related, feature), dim=-1
            )
            token = rearrange(token.to(features.dtype) + offset, "b v p d -> b p v d")
            delta = rearrange(self.updateformer(token), "b p v d -> b v p d")
            change = self.ffeat_norm(rearrange(delta[..., 2:], "b v p c -> (b v p) c"))
            feature = feature + self.ffeat_updater(change).reshape(feature.shape)
            at = at + delta[..., :2].to(at.dtype)
            at = torch.cat((start, at[:, 1:]), dim=1)
            passes.append(at * _STRIDE)
        visibility = self.vis_predictor(feature)[..., 0].sigmoid()
        return Tracks(passes, visibility, self.conf_predictor(feature)[..., 0].sigmoid())

    def _correlate(
        self, pyramid: list[Tensor], feature: Float[Tensor, "b v p c"], at: Tensor
    ) -> Float[Tensor, "b v p k"]:
        """Products of a track's feature with the maps in a window round it, at every scale.

        The window's rows step along x and its columns along y, as the public weights expect.
        """
        radius = self.config.radius
        step = torch.arange(-radius, radius + 1, dtype=at.dtype, device=at.device)
        window = torch.cartesian_prod(step, step)
        flat = rearrange(feature, "b v p c -> (b v) p c")
        found = []
        for level, maps in enumerate(pyramid):
            where = rearrange(at, "b v p xy -> (b v) p 1 xy") / 2**level + window
            near = sample(maps, where, padding="zeros")  # [s c p k]
            found.append(einsum(flat, near, "s p c, s c p k -> s p k"))
        scaled = torch.cat(found, dim=-1) / flat.shape[-1] ** 0.5
        return scaled.reshape(*feature.shape[:3], -1)


def sample(
    maps: Float[Tensor, "s c y x"], at: Float[Tensor, "s p k 2"], *, padding: str
) -> Float[Tensor, "s c p k"]:
    """Read maps bilinearly at pixel positions (x, y), 0 at the first sample's center."""
    last = torch.tensor([maps.shape[-1] - 1, maps.shape[-2] - 1], device=at.device).clamp_min(1)
    grid = (at * (2 / last.float()) - 1).to(maps.dtype)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode=padding, align_corners=True)


def embed_flow(flow: Float[Tensor, "b v p 2"], width: int) -> Float[Tensor, "b v p e"]:
    """Sin and cos, interleaved, of x and then y at frequencies k 1000 / width, k = 0, 2, ..."""
    even = torch.arange(0, width, 2, dtype=torch.float32, device=flow.device)
    angle = flow.float()[..., None] * (even * (1000.0 / width))
    both = torch.stack((angle.sin(), angle.cos()), dim=-1)
    return rearrange(both, "b v p xy k wave -> b v p (xy k wave)")


def position_at(
    at: Float[Tensor, "b p 2"], size: tuple[int, int], width: int
) -> Float[Tensor, "b p e"]:
    """Sin-cos embedding (base 10000) of columns, then rows, read bilinearly at (x, y).

    The two-dimensional table is a pair of one-dimensional ones, so each axis is read by itself.
    """
    halves = [_read(at[..., axis], count, width // 2) for axis, count in enumerate(size[::-1])]
    return torch.cat(halves, dim=-1)


def _read(at: Float[Tensor, "b p"], count: int, width: int) -> Float[Tensor, "b p e"]:
    omega = 10000.0 ** -(torch.arange(width // 2, dtype=torch.float64, device="cpu") / (width // 2))
    angle = torch.outer(torch.arange(count, dtype=torch.float64, device="cpu"), omega)
    table = torch.cat((angle.sin(), angle.cos()), dim=1).float().to(at.device)
    at = at.float().clamp(0, count - 1)
    low = at.floor().long().clamp_max(max(count - 2, 0))
    part = (at - low)[..., None]
    high = (low + 1).clamp_max(count - 1)
    return table[low] * (1 - part) + table[high] * part


def _pyramid(maps: Float[Tensor, "s c y x"], levels: int) -> list[Tensor]:
    pyramid = [maps]
    for _ in range(levels - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid
