"""Groups of options that commands share: a recipe, a model, where and how it computes."""

from dataclasses import dataclass
from typing import Literal

from lite3r.student.kinds import Backend, Fp8, Precision, Scope, Trainable

Device = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """A recipe by its name, and what differs from it."""

    recipe: str = "balanced"
    """Which recipe: balanced, fast, tiles, paper, sparse_only (`lite3r info` describes them), or a
    .json file of `lite3r tune`."""
    keep: str | None = None
    """Key blocks that each query block attends exactly: a number, as 64, a share, as 0.25, or a
    number for each sparse attention, as 88,84,56,28."""
    block: tuple[int, int] | None = None
    """Query and key tokens in a block; the first summaries are as large as key blocks."""
    scope: Scope | None = None
    """Which attention becomes sparse: over all views, inside each view, or both."""
    fp8: Fp8 | None = None
    """Scaling of the FP8 linear layers; none keeps them as they are."""
    trainable: Trainable | None = None
    """What distillation changes: projections, last layers, gains, low-rank updates, attentions."""
    set: tuple[str, ...] = ()
    """Other fields of the recipe, as opened=16 summary=4,64 lora_rank=4."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """A student or a dense backbone, and how it computes."""

    model: str = "teacher"
    """A student's folder, as runs/da3-tiny, or teacher for the dense backbone."""
    backbone: str | None = None
    """Which dense backbone, with --model teacher; da3-tiny unless given."""
    weights: str | None = None
    """The backbone's weights: bundled, hub, random, or a file."""
    backend: Backend = "auto"
    """What multiplies a student's FP8 layers; auto is the fastest that the device has."""
    precision: Precision = "auto"
    """Number type; auto is 16 bits where a device multiplies them (students) or memory is short."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU when there is one, NVIDIA's or AMD's before Apple's."""
