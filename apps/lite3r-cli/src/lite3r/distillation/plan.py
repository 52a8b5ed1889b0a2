"""What a run of `lite3r distill` is asked to do, as one value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lite3r.bench.scenes import ImageSettings
from lite3r.distillation.training import Training
from lite3r.student.deploy import Backend, Precision
from lite3r.student.recipes import Recipe
from lite3r.student.student import TeacherSpec


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is distilled: every choice that the student's weights depend on, and where to compute.

    - `data`: "synthetic", or a folder of photos of one scene.
    - `judged`: how many unseen synthetic scenes teacher and student are measured on.
    - `settings`: the same choices as JSON values, as the folder keeps them.
    """

    teacher: TeacherSpec
    recipe: Recipe
    training: Training
    data: str
    images: ImageSettings
    judged: int
    seed: int
    device: str
    backend: Backend = "auto"
    precision: Precision = "auto"
    settings: Mapping[str, Any]
