"""How good a teacher is, beside what anything at all would reach."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from recon_backbones import Backbone, replace_attention
from recon_eval import depth, pose
from recon_eval.data import Scene, SyntheticScenes, SyntheticWorld


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Means over unseen scenes; depth with one median scale a scene, poses over all pairs.

    `aspect_error` is the mean of |log(focal x / focal y)|: 0 for square pixels, as all are.
    """

    predictor: str
    world: str
    height: int
    width: int
    views: int
    scenes: int
    abs_rel: float
    delta1: float
    first_view_abs_rel: float
    rotation_degrees: float | None
    direction_degrees: float | None
    auc30: float | None
    aspect_error: float | None


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
        own = [rearrange(t, "b h (v n) d -> b h v n d", v=views) for t in (q, k, v)]
        cameras = [repeat(t[:, :, pinned], "b h p d -> b h v p d", v=views) for t in (k, v)]
        keys, values = (torch.cat(pair, dim=3) for pair in zip(own[1:], cameras, strict=True))
        mixed = scaled_dot_product_attention(own[0], keys, values)
        return rearrange(mixed, "b h v n d -> b h (v n) d")


@dataclass(frozen=True, kw_only=True)
class Exam:
    """Unseen scenes of one world at one size, shown with several numbers of views.

    With `baselines`, what anything at all would reach is measured beside the teacher.
    """

    world: str
    height: int
    width: int
    views: tuple[int, ...]
    scenes: int
    baselines: bool = False

    def __post_init__(self) -> None:
        if self.world not in WORLDS:
            raise ValueError(f"world={self.world!r}; known worlds: {', '.join(WORLDS)}")

    def load(self) -> list[Scene]:
        """Render the scenes with as many views as are ever shown."""
        sizes = {"count": self.scenes, "views": max(self.views)}
        return list(WORLDS[self.world]("test", height=self.height, width=self.width, **sizes))


WORLDS = {"rooms": SyntheticScenes, "world": SyntheticWorld}


def all_exams(scenes: int) -> list[Exam]:
    """What a teacher is measured on: rooms of every size and shape, and the rich world."""
    many, few = (2, 4, 8, 16), max(1, scenes // 4)
    square = [
        Exam(world="rooms", height=s, width=s, views=many, scenes=scenes, baselines=True)
        for s in (112, 224)
    ]
    return [
        *square,
        Exam(world="rooms", height=182, width=280, views=(2, 8), scenes=scenes),
        Exam(world="rooms", height=448, width=448, views=(2, 8), scenes=few),
        Exam(world="world", height=224, width=224, views=(2, 8, 32), scenes=few, baselines=True),
        Exam(world="world", height=182, width=280, views=(2, 8), scenes=few),
        Exam(world="world", height=448, width=448, views=(2, 8), scenes=few),
    ]


def assess(backbone: Backbone, exams: Sequence[Exam]) -> Iterator[Quality]:
    """Measure a backbone on the test split: as it is, without cross-view sight, and baselines.

    The baselines are a constant depth, and each view reconstructed alone.
    """
    for exam in exams:
        loaded = exam.load()
        for count in exam.views:
            shown = [scene.select(list(range(count))) for scene in loaded]
            yield _quality("teacher", shown, exam, lambda scene: _together(backbone, scene))
        if not exam.baselines:
            continue
        shown = [scene.select(list(range(min(4, max(exam.views))))) for scene in loaded]
        yield _quality("each view alone", shown, exam, lambda scene: _alone(backbone, scene))
        yield _quality("constant depth", shown, exam, _constant)
        replaced = replace_attention(backbone, lambda site: OwnViewAttention())
        yield _quality(
            "teacher, own view only", shown, exam, lambda scene: _together(backbone, scene)
        )
        replaced.undo()


Answer = tuple[Float[Tensor, "v y x"], Float[Tensor, "v 3 4"] | None, float | None]


def _quality(
    predictor: str, scenes: list[Scene], exam: Exam, answer: Callable[[Scene], Answer]
) -> Quality:
    depths, first, poses, aspects = [], [], [], []
    for scene in scenes:
        assert scene.depth is not None and scene.world_to_camera is not None
        assert scene.valid is not None
        predicted, cameras, aspect = answer(scene)
        if bool(scene.valid[0].any()):
            first.append(depth.evaluate(predicted[:1], scene.depth[:1], scene.valid[:1]))
            depths.append(depth.evaluate(predicted, scene.depth, scene.valid))
        if aspect is not None:
            aspects.append(aspect)
        if cameras is not None and scene.num_views > 1:
            poses.append(pose.evaluate(cameras, scene.world_to_camera))
    return Quality(
        predictor=predictor,
        world=exam.world,
        height=exam.height,
        width=exam.width,
        views=scenes[0].num_views,
        scenes=len(scenes),
        abs_rel=_mean([d.abs_rel for d in depths]),
        delta1=_mean([d.delta1 for d in depths]),
        first_view_abs_rel=_mean([d.abs_rel for d in first]),
        rotation_degrees=_mean([p.rotation_median_degrees for p in poses]) if poses else None,
        direction_degrees=_mean([p.direction_median_degrees for p in poses]) if poses else None,
        auc30=_mean([p.auc[30] for p in poses]) if poses else None,
        aspect_error=_mean(aspects) if aspects else None,
    )


@torch.inference_mode()
def _together(backbone: Backbone, scene: Scene) -> Answer:
    prediction = backbone(scene.images[None])
    focal = prediction.intrinsics[0].diagonal(dim1=-2, dim2=-1)
    aspect = float((focal[:, 0] / focal[:, 1]).log().abs().mean())
    return prediction.depth[0], prediction.world_to_camera[0], aspect


@torch.inference_mode()
def _alone(backbone: Backbone, scene: Scene) -> Answer:
    depths = [backbone(image[None, None]).depth[0] for image in scene.images]
    return torch.cat(depths), None, None


def _constant(scene: Scene) -> Answer:
    return torch.ones_like(scene.images[:, 0]), None, None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def as_records(qualities: list[Quality]) -> list[dict[str, object]]:
    """Return plain dictionaries, ready for JSON."""
    return [asdict(quality) for quality in qualities]
