"""Exams on unseen drawn scenes: how good depth and cameras are, at several sizes and views."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import torch

from recon_eval import depth, pose
from recon_eval.answers import Answer
from recon_eval.report.markdown import table
from recon_eval.sets.scene import Scene
from recon_eval.synthetic import SyntheticScenes, SyntheticWorld

WORLDS = {"rooms": SyntheticScenes, "world": SyntheticWorld}
BASELINE_VIEWS = 4
NUMBERS = {
    **{"AbsRel": "abs_rel", "delta1": "delta1", "rot": "rotation_degrees"},
    **{"dir": "direction_degrees", "AUC@30": "auc30", "focal x/y": "aspect_error"},
}


@dataclass(frozen=True, kw_only=True)
class Grade:
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


@dataclass(frozen=True, kw_only=True)
class Exam:
    """Unseen scenes of one world at one size, shown with several numbers of views.

    With `baselines`, what anything at all would reach is measured beside a network.
    Raises ValueError for an unknown world.
    """

    world: str
    height: int
    width: int
    views: tuple[int, ...]
    scenes: int
    baselines: bool = False
    split: Literal["validation", "test"] = "test"

    def __post_init__(self) -> None:
        if self.world not in WORLDS:
            raise ValueError(f"world={self.world!r}; known worlds: {', '.join(WORLDS)}")

    def load(self) -> list[Scene]:
        """Render the scenes with as many views as are ever shown."""
        sizes = {"count": self.scenes, "views": max(self.views)}
        return list(WORLDS[self.world](self.split, height=self.height, width=self.width, **sizes))

    def few(self, loaded: Sequence[Scene]) -> list[Scene]:
        """The scenes with the few views at which baselines are measured."""
        return shown(loaded, min(BASELINE_VIEWS, max(self.views)))

    def grade(
        self, predictor: str, scenes: Sequence[Scene], answer: Callable[[Scene], Answer]
    ) -> Grade:
        """Means over scenes of what is answered, held against the truth."""
        depths, first, poses, aspects = [], [], [], []
        for scene in scenes:
            assert scene.depth is not None and scene.world_to_camera is not None
            assert scene.valid is not None
            told = answer(scene)
            if bool(scene.valid[0].any()):
                first.append(depth.evaluate(told.depth[:1], scene.depth[:1], scene.valid[:1]))
                depths.append(depth.evaluate(told.depth, scene.depth, scene.valid))
            if told.intrinsics is not None:
                focal = told.intrinsics.diagonal(dim1=-2, dim2=-1)
                aspects.append(float((focal[:, 0] / focal[:, 1]).log().abs().mean()))
            if told.world_to_camera is not None and scene.num_views > 1:
                poses.append(pose.evaluate(told.world_to_camera, scene.world_to_camera))
        return Grade(
            predictor=predictor,
            world=self.world,
            height=self.height,
            width=self.width,
            views=scenes[0].num_views,
            scenes=len(scenes),
            abs_rel=fmean(d.abs_rel for d in depths),
            delta1=fmean(d.delta1 for d in depths),
            first_view_abs_rel=fmean(d.abs_rel for d in first),
            rotation_degrees=_mean([p.rotation_median_degrees for p in poses]),
            direction_degrees=_mean([p.direction_median_degrees for p in poses]),
            auc30=_mean([p.auc[30] for p in poses]),
            aspect_error=_mean(aspects),
        )

    def by_views(
        self, predictor: str, loaded: Sequence[Scene], answer: Callable[[Scene], Answer]
    ) -> Iterator[Grade]:
        """A grade for each number of views."""
        for count in self.views:
            yield self.grade(predictor, shown(loaded, count), answer)


def shown(scenes: Sequence[Scene], views: int) -> list[Scene]:
    """The first views of every scene."""
    return [scene.select(list(range(views))) for scene in scenes]


def constant_depth(scene: Scene) -> Answer:
    """What anything at all would answer: a wall, and no cameras."""
    return Answer(depth=torch.ones_like(scene.images[:, 0]))


def all_exams(scenes: int) -> list[Exam]:
    """Rooms of every size and shape, and the rich world."""
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


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None


def markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """A table of grades, each as `dataclasses.asdict` gives it."""

    def cells(row: Mapping[str, Any]) -> list[object]:
        numbers = ["" if row[name] is None else f"{row[name]:.3f}" for name in NUMBERS.values()]
        size = f"{row['width']} x {row['height']}"
        return [row["predictor"], row["world"], size, row["views"], *numbers]

    return table(("predictor", "world", "pixels", "views", *NUMBERS), map(cells, rows))
