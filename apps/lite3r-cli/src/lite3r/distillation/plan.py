"""What a run of `lite3r distill` is asked to do, as one value."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distill
from lite3r.bench.images import ImageSettings
from lite3r.student.kinds import Backend, Precision
from lite3r.student.recipes import Recipe
from lite3r.student.student import TeacherSpec


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is distilled: every choice that the student's weights depend on, and where to compute.

    - `data`: "synthetic", or a folder of photos of one scene.
    - `many_views`, `many_scenes`: larger scenes to measure on as well; 0 views for none.
    - `judged`: how many unseen synthetic scenes teacher and student are measured on.
    - `photos`: folders of photos of one scene each, which the report shows and nothing learns from.
    - `settings`: the same choices as JSON values, as the folder keeps them.
    """

    teacher: TeacherSpec
    recipe: Recipe
    training: distill.Training
    data: str
    images: ImageSettings
    judged: int
    photos: tuple[Path, ...] = ()
    many_views: int = 0
    many_scenes: int = 0
    seed: int
    device: str
    backend: Backend = "auto"
    precision: Precision = "auto"
    settings: Mapping[str, Any]
