"""The one place where the five packages meet.

A backbone (recon_backbones) becomes a student: its attention becomes sparse and linear
(sla_kernels), its linear layers FP8 (fp8_qat); distillation (distill) teaches it, and
evaluation (recon_eval, by `measuring`) says what is left of the teacher.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

import distill
import fp8_qat
from recon_backbones import AttentionSite, Backbone, load_backbone, replace_attention
from sla_kernels import SparseLinearAttention, observed_selections

from . import atomic
from .measuring import compared
from .measuring import evaluate as evaluate
from .recipes import Recipe, Training
from .student import Student, TeacherSpec, weights_digest
from .terminal import Advance, Terminal

_ATTENTION = distill.AttentionOutputs(loss="relative_mse")
OBJECTIVES: dict[str, tuple[distill.Objective, ...]] = {
    "attention": (_ATTENTION,),
    "outputs": (_ATTENTION, distill.Depth(weight=2.0), distill.Pose(weight=5.0)),
}
RIDGE = 0.01  # keeps solutions small, so that training goes on from them


def lighten(
    teacher: Backbone, recipe: Recipe | None = None, spec: TeacherSpec | None = None
) -> Student:
    """Make an untrained student; the teacher stays as it is.

    Where the teacher's own weights stay frozen they are shared with it until FP8 takes them
    over. Before training the linear branch and low-rank updates add nothing, so this is the
    training-free student.
    Raises ValueError when the recipe names layers that the backbone does not have.
    """
    recipe = recipe or Recipe()
    spec = spec or TeacherSpec.of(teacher)
    digest = weights_digest(teacher)
    teacher.requires_grad_(False)
    adds_only = recipe.trainable in ("proj", "lora")  # the teacher's own weights stay frozen
    shared = {id(p): p for p in teacher.parameters()} if adds_only else {}
    light = copy.deepcopy(teacher, memo=dict(shared))
    sparsify(light, recipe)
    handle = _choose_trained(light, recipe)
    return Student(
        backbone=light.eval(), recipe=recipe, teacher=spec, weights_sha256=digest, handle=handle
    )


def _choose_trained(light: Backbone, recipe: Recipe) -> fp8_qat.Handle | None:
    """Let what the recipe trains train, and quantise: frozen layers for good, others as they go."""
    sites = [s.name for s in light.attention_sites() if s.scope in recipe.scopes]
    low_rank = recipe.trainable == "lora"
    # A weight that gets an update must be quantised anew at every step, as a trained one is.
    distill.train_only(light, "attn" if low_rank else recipe.trainable, sites=sites)
    handle = None if recipe.fp8 == "none" else quantise(light, recipe)
    if low_rank:
        with torch.random.fork_rng():
            torch.manual_seed(0)  # one recipe is one student
            distill.train_only(light, "lora", sites=sites, rank=recipe.lora_rank)
    return handle


def sparsify(backbone: Backbone, recipe: Recipe) -> None:
    """Give a backbone the token order and the attention of a recipe, in place."""
    like = next(backbone.parameters())
    backbone.set_token_order(recipe.token_order)
    replace_attention(
        backbone,
        lambda site: _sparse(site, recipe).to(device=like.device, dtype=like.dtype),
        where=lambda site: site.scope in recipe.scopes,
    )


def deploy(student: Student, *, backend: str = "reference") -> fp8_qat.Report:
    """Turn the FP8 layers of a student into deployed ones, in place.

    backend: as `fp8_qat.convert` takes it; "reference" computes what training computed.
    Low-rank updates become part of their weights first.
    Raises ValueError for a student without FP8, or one that the backend cannot run.
    """
    if student.recipe.trainable == "lora":
        distill.merge_lora(student.backbone)
    return convert(student.backbone, backend=backend)


def convert(backbone: Backbone, *, backend: str) -> fp8_qat.Report:
    """Turn the FP8 layers of a backbone into deployed ones, in place."""
    return fp8_qat.convert(backbone, backend=backend)


def write_deployed(student: Student, path: Path) -> None:
    """Write all weights of a deployed student, FP8 as FP8: loadable without its teacher."""
    with atomic.new_file(path) as partial:
        fp8_qat.save_fp8(student.backbone, partial)


def read_deployed(
    path: Path, recipe: Recipe, spec: TeacherSpec, digest: str, *, device: str, backend: str
) -> Student:
    """Build a student around the weights that `write_deployed` wrote."""
    backbone = load_backbone(spec.backbone, weights="random", device=device)
    sparsify(backbone, recipe)
    fp8_qat.load_fp8(backbone, path, backend=backend)
    backbone.requires_grad_(False).eval()
    return Student(backbone=backbone, recipe=recipe, teacher=spec, weights_sha256=digest)


def distil(
    student: Student,
    teacher: Backbone,
    batches: distill.Batches,
    training: Training,
    *,
    seed: int,
    directory: Path | None,
    reporter: distill.Reporter,
) -> distill.Result:
    """Teach a student to answer as the teacher does, attention by attention.

    batches: gives images `b v 3 y x` by number.
    directory: where log and checkpoints go; a run that is there already is continued.
    """
    sites = [s for s in teacher.attention_sites() if s.scope in student.recipe.scopes]
    with same_token_order(teacher, student.recipe):
        begun = directory is not None and distill.has_run(directory)
        if training.solve_batches and student.recipe.trainable == "proj" and not begun:
            _solve(student, teacher, batches, sites, training.solve_batches, seed)
        return _train(student, teacher, batches, sites, training, seed, directory, reporter)


@contextmanager
def same_token_order(teacher: Backbone, recipe: Recipe) -> Iterator[None]:
    """Let the teacher keep its tokens in the student's order, so that they can be compared.

    What the teacher puts out does not depend on the order.
    """
    teacher.set_token_order(recipe.token_order)
    try:
        yield
    finally:
        teacher.set_token_order("raster")


def _solve(
    student: Student,
    teacher: Backbone,
    batches: distill.Batches,
    sites: Sequence[AttentionSite],
    count: int,
    seed: int,
) -> None:
    """Set every projection to the least-squares solution on some batches, layer after layer."""
    fits = [
        distill.Fit(pair=pair, layer=f"{pair.student}.proj_l")
        for pair in distill.pair_sites(sites, suffix=".core")
    ]
    distill.fit_projections(
        student.backbone,
        teacher,
        batches,
        fits,
        count=count,
        ridge=RIDGE,
        seed=seed,
        forward=compared,
    )


def _train(
    student: Student,
    teacher: Backbone,
    batches: distill.Batches,
    sites: Sequence[AttentionSite],
    training: Training,
    seed: int,
    directory: Path | None,
    reporter: distill.Reporter,
) -> distill.Result:
    config = distill.DistillConfig(
        steps=training.steps,
        learning_rate=training.learning_rate,
        warmup_steps=min(5, training.steps // 10),
        accumulation=training.accumulation,
        checkpoint_every=training.checkpoint_every,
        checkpoint_activations=_blocks(teacher) if training.recompute else (),
        run_until="last_pair" if training.match == "attention" else "end",
        seed=seed,
    )
    return distill.distill(
        student.backbone,
        teacher,
        batches,
        pairs=distill.pair_sites(sites),
        objectives=OBJECTIVES[training.match],
        config=config,
        forward=compared,
        directory=directory,
        count_images=lambda images: images.shape[0] * images.shape[1],
        reporter=reporter,
    )


def _blocks(backbone: Backbone) -> tuple[str, ...]:
    """Names of the transformer blocks that hold attention over tokens."""
    sites = (s for s in backbone.attention_sites() if s.scope != "camera")
    return tuple(site.name.rpartition(".")[0] for site in sites)


class Watched(distill.Quiet):
    """Tells a terminal how distillation goes on."""

    def __init__(self, terminal: Terminal, advance: Advance) -> None:
        self._terminal, self._advance = terminal, advance

    def started(self, start: distill.Start) -> None:
        """Say where a resumed run goes on."""
        if start.step:
            self._terminal.say(f"resumed after step {start.step}")
            self._advance(to=start.step)

    def stepped(self, record: distill.StepRecord) -> None:
        """Move the bar."""
        self._advance(to=record.step, note=f"loss {record.losses['loss']:.3g}")

    def warned(self, text: str) -> None:
        """Repeat the warning."""
        self._terminal.say(text)


def _sparse(site: AttentionSite, recipe: Recipe) -> SparseLinearAttention:
    return SparseLinearAttention(
        site.head_dim,
        keep=recipe.keep,
        block=recipe.block,
        estimator=recipe.estimator,
        feature_map=recipe.feature_map,
        linear=recipe.linear,
    )


def quantise(light: Backbone, recipe: Recipe) -> fp8_qat.Handle:
    """Make the linear layers that a recipe names compute in FP8, in place."""

    def left_alone(name: str, layer: nn.Linear) -> bool:
        # proj_l of the linear branch is part of the attention operator, not a layer.
        return ".core." in name or any(fnmatchcase(name, p) for p in recipe.fp8_exclude)

    return fp8_qat.prepare(
        light,
        fp8_qat.recipes.by_name(recipe.fp8),
        include=list(recipe.fp8_include),
        exclude=left_alone,
    )


def kept_density(student: Student, images: Tensor) -> float:
    """Share of query-key pairs of the sparse attentions that softmax attention sees.

    Measured on images `b v 3 y x`, averaged over the attentions.
    """
    with torch.inference_mode(), observed_selections(student.backbone) as found:
        student.backbone(images)
    return sum(selection.density for selection in found) / len(found)
