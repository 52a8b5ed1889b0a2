"""A student is its teacher but for what the recipe says."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

import distill
from distill import Training
from lite3r.bench.costs import kept_density
from lite3r.distillation.teach import teach
from lite3r.student.compose import lighten
from lite3r.student.recipes import Recipe, fast, paper
from lite3r.student.student import TeacherSpec
from recon_backbones import Backbone, weights_digest
from sla_kernels import SparseLinearAttention

from .drawn import IMAGES, tiled


@pytest.mark.parametrize("token_order", ["raster", "tile8"])
def test_all_blocks_kept_without_fp8_is_the_teacher(teacher: Backbone, token_order: Any) -> None:
    recipe = tiled(keep=1.0, fp8="none", scope="both", token_order=token_order)
    student = lighten(teacher, recipe)
    with torch.no_grad():
        one, other = teacher(IMAGES), student.backbone(IMAGES)
    torch.testing.assert_close(one.depth, other.depth, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.world_to_camera, other.world_to_camera, rtol=1e-4, atol=1e-4)
    assert kept_density(student.backbone, IMAGES) == 1.0


def test_lightening_leaves_the_teacher_as_it_was(teacher: Backbone) -> None:
    before = weights_digest(teacher)
    for recipe in (tiled(), paper(), tiled(trainable="all")):
        student = lighten(teacher, recipe)
        with torch.no_grad():
            for parameter in student.trained().values():
                parameter.add_(1.0)
        assert weights_digest(teacher) == before
        assert not any(p.requires_grad for p in teacher.parameters())


def test_frozen_weights_are_shared_with_the_teacher(teacher: Backbone) -> None:
    student = lighten(teacher, tiled(fp8="none"))
    theirs = dict(teacher.named_parameters())
    for name, parameter in student.backbone.named_parameters():
        assert parameter.requires_grad == (".core." in name)
        assert parameter.requires_grad or parameter is theirs[name]


def test_gains_share_the_matrices_of_the_teacher_and_nothing_that_trains(teacher: Backbone) -> None:
    student = lighten(teacher, replace(fast(), trainable="gains", fp8="none"))
    theirs = dict(teacher.named_parameters())
    own = {n: p for n, p in student.backbone.named_parameters() if p is not theirs.get(n)}
    assert set(student.trained()) <= set(own)
    assert all(parameter.ndim < 2 for parameter in own.values())


def test_the_same_tokens_are_compared_in_any_order(teacher: Backbone) -> None:
    """A student that computes what its teacher does has nothing to learn."""
    recipe = tiled(keep=1.0, fp8="none")
    student = lighten(teacher, recipe)
    result = teach(
        student,
        teacher,
        distill.Views(lambda _: IMAGES[0], views=2),
        Training(steps=1, solve_batches=0),
        seed=0,
    )
    assert result.losses["loss"] < 1e-9


def test_density_follows_keep(teacher: Backbone) -> None:
    found = [
        kept_density(lighten(teacher, tiled(keep=keep)).backbone, IMAGES)
        for keep in (0.1, 0.25, 0.5)
    ]
    assert found == sorted(found)
    assert 0.25 <= found[1] < 0.45  # whole blocks, and the pinned tokens besides


def test_a_loaded_backbone_knows_where_it_came_from() -> None:
    spec = TeacherSpec(backbone="da3-tiny", weights="random", seed=3)
    assert TeacherSpec.of(spec.load()) == spec


def test_blocks_of_single_layers_are_as_many_as_the_layers(teacher: Backbone) -> None:
    recipe = replace(Recipe(), keep=(8, 4, 2, 1), fp8="none")
    assert "8, 4, 2, 1 key blocks" in recipe.words()
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    made = lighten(teacher, recipe, calibrate=IMAGES).backbone
    cores = [made.get_submodule(f"{s.name}.core") for s in made.attention_sites()]
    rows = [core.choice.keep for core in cores if isinstance(core, SparseLinearAttention)]
    assert rows == [8, 4, 2, 1]
    with pytest.raises(ValueError, match=r"keep=8, 4; da3-tiny has 4 attentions that become"):
        lighten(teacher, replace(recipe, keep=(8, 4)))
