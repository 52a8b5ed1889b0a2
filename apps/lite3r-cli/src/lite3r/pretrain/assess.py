"""How good a teacher is, beside what anything at all would reach."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from recon_backbones import Backbone, replace_attention
from recon_eval import depth, pose
from recon_eval.data import Scene
from recon_eval.synthetic import SyntheticScenes


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Means over unseen scenes; depth with one median scale a scene, poses over all pairs."""

    predictor: str
    size: int
    views: int
    scenes: int
    abs_rel: float
    delta1: float
    first_view_abs_rel: float
    rotation_degrees: float | None
    direction_degrees: float | None
    auc30: float | None


class OwnViewAttention(nn.Module):
    """Global attention held back: a view sees its own tokens and the camera tokens of all."""

    def forward(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h n d"],
        v: Float[Tensor, "b h n d"],
        *,
        pinned: Int64[Tensor, " p"],
    ) -> Float[Tensor, "b h n d"]:
        """Attend within each view, and to the tokens at `pinned`, the first of every view."""
        views = len(pinned)
        own = [t.unflatten(2, (views, -1)) for t in (q, k, v)]
        cameras = [t[:, :, None, pinned].expand(-1, -1, views, -1, -1) for t in (k, v)]
        keys, values = (torch.cat(pair, dim=3) for pair in zip(own[1:], cameras, strict=True))
        return scaled_dot_product_attention(own[0], keys, values).flatten(2, 3)


def assess(
    backbone: Backbone, *, sizes: tuple[int, ...], views: tuple[int, ...], scenes: int
) -> Iterator[Quality]:
    """Measure a backbone on the test split: as it is, without cross-view sight, and baselines.

    The baselines are a constant depth, and each view reconstructed alone.
    """
    for size in sizes:
        data = SyntheticScenes("test", count=scenes, views=max(views), height=size, width=size)
        loaded = list(data)
        for count in views:
            shown = [scene.select(list(range(count))) for scene in loaded]
            yield _quality("teacher", shown, size, lambda scene: _together(backbone, scene))
        shown = [scene.select(list(range(min(4, max(views))))) for scene in loaded]
        yield _quality("each view alone", shown, size, lambda scene: _alone(backbone, scene))
        yield _quality("constant depth", shown, size, _constant)
        replaced = replace_attention(backbone, lambda site: OwnViewAttention())
        yield _quality(
            "teacher, own view only", shown, size, lambda scene: _together(backbone, scene)
        )
        replaced.undo()


Answer = tuple[Float[Tensor, "v y x"], Float[Tensor, "v 3 4"] | None]


def _quality(
    predictor: str, scenes: list[Scene], size: int, answer: Callable[[Scene], Answer]
) -> Quality:
    depths, first, poses = [], [], []
    for scene in scenes:
        assert scene.depth is not None and scene.world_to_camera is not None
        predicted, cameras = answer(scene)
        depths.append(depth.evaluate(predicted, scene.depth))
        first.append(depth.evaluate(predicted[:1], scene.depth[:1]))
        if cameras is not None and scene.num_views > 1:
            poses.append(pose.evaluate(cameras, scene.world_to_camera))
    return Quality(
        predictor=predictor,
        size=size,
        views=scenes[0].num_views,
        scenes=len(scenes),
        abs_rel=_mean([d.abs_rel for d in depths]),
        delta1=_mean([d.delta1 for d in depths]),
        first_view_abs_rel=_mean([d.abs_rel for d in first]),
        rotation_degrees=_mean([p.rotation_median_degrees for p in poses]) if poses else None,
        direction_degrees=_mean([p.direction_median_degrees for p in poses]) if poses else None,
        auc30=_mean([p.auc[30] for p in poses]) if poses else None,
    )


@torch.inference_mode()
def _together(backbone: Backbone, scene: Scene) -> Answer:
    prediction = backbone(scene.images[None])
    return prediction.depth[0], prediction.world_to_camera[0]


@torch.inference_mode()
def _alone(backbone: Backbone, scene: Scene) -> Answer:
    return torch.cat([backbone(image[None, None]).depth[0] for image in scene.images]), None


def _constant(scene: Scene) -> Answer:
    return torch.ones_like(scene.images[:, 0]), None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def as_records(qualities: list[Quality]) -> list[dict[str, object]]:
    """Return plain dictionaries, ready for JSON."""
    return [asdict(quality) for quality in qualities]
