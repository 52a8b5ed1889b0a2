"""A student is its teacher but for what the recipe says, and is taught what it deploys."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lite3r.bench.costs import kept_density
from lite3r.distillation.data import PhotoBatches, SceneBatches
from lite3r.distillation.teach import teach
from lite3r.distillation.training import Training
from lite3r.student.compose import lighten
from lite3r.student.deploy import deploy, export, load
from lite3r.student.recipes import NAMED, Recipe, by_name, paper, sparse_only
from lite3r.student.student import TeacherSpec, weights_digest
from recon_backbones import Backbone, load_backbone

IMAGES = torch.rand(1, 2, 3, 140, 126, generator=torch.Generator().manual_seed(0))
SMALL = (16, 16)


@pytest.fixture
def teacher() -> Backbone:
    return load_backbone("da3-tiny", weights="random")


@pytest.mark.parametrize("token_order", ["raster", "tile8"])
def test_all_blocks_kept_without_fp8_is_the_teacher(teacher: Backbone, token_order: Any) -> None:
    recipe = Recipe(keep=1.0, block=SMALL, fp8="none", scope="both", token_order=token_order)
    student = lighten(teacher, recipe)
    with torch.no_grad():
        one, other = teacher(IMAGES), student.backbone(IMAGES)
    torch.testing.assert_close(one.depth, other.depth, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.world_to_camera, other.world_to_camera, rtol=1e-4, atol=1e-4)
    assert kept_density(student.backbone, IMAGES) == 1.0


def test_lightening_leaves_the_teacher_as_it_was(teacher: Backbone) -> None:
    before = weights_digest(teacher)
    for recipe in (Recipe(block=SMALL), paper(), Recipe(block=SMALL, trainable="all")):
        student = lighten(teacher, recipe)
        with torch.no_grad():
            for parameter in student.trained().values():
                parameter.add_(1.0)
        assert weights_digest(teacher) == before
        assert not any(p.requires_grad for p in teacher.parameters())


def test_frozen_weights_are_shared_with_the_teacher(teacher: Backbone) -> None:
    student = lighten(teacher, sparse_only())
    theirs = dict(teacher.named_parameters())
    for name, parameter in student.backbone.named_parameters():
        assert parameter.requires_grad == (".core." in name)
        assert parameter.requires_grad or parameter is theirs[name]


def test_the_same_tokens_are_compared_in_any_order(teacher: Backbone) -> None:
    """A student that computes what its teacher does has nothing to learn."""
    recipe = Recipe(keep=1.0, block=SMALL, fp8="none", token_order="tile8")
    student = lighten(teacher, recipe)
    result = teach(
        student,
        teacher,
        PhotoBatches(IMAGES[0], 2),
        Training(steps=1, solve_batches=0),
        seed=0,
    )
    assert result.losses["loss"] < 1e-9


def test_solving_lowers_the_loss_before_the_first_step(teacher: Backbone, tmp_path: Path) -> None:
    losses = {}
    for count in (0, 1):
        student = lighten(teacher, Recipe(block=SMALL))
        result = teach(
            student,
            teacher,
            PhotoBatches(IMAGES[0], 2),
            Training(steps=1, solve_batches=count),
            seed=0,
            directory=tmp_path / str(count),
        )
        losses[count] = result.losses["loss"]
    assert losses[1] < losses[0]


def test_low_rank_updates_are_deployed_as_they_were_trained(
    teacher: Backbone, tmp_path: Path
) -> None:
    recipe = Recipe(block=SMALL, trainable="lora", lora_rank=2)
    student = lighten(teacher, recipe)
    with torch.no_grad():
        untrained = lighten(teacher, Recipe(block=SMALL)).backbone(IMAGES)
        assert torch.equal(student.backbone(IMAGES).depth, untrained.depth)
        for name, value in student.trained().items():
            value.add_(0.02 if name.endswith(".up") else 0.0)
        trained = student.backbone(IMAGES)
    student.save(tmp_path / "trained")
    export(student, tmp_path / "deployed")
    assert not torch.equal(trained.depth, untrained.depth)
    for folder in ("trained", "deployed"):
        with torch.no_grad():
            again = load(tmp_path / folder, backend="reference").backbone(IMAGES)
        assert torch.equal(again.depth, trained.depth), folder


def test_density_follows_keep(teacher: Backbone) -> None:
    found = [
        kept_density(lighten(teacher, Recipe(keep=keep, block=SMALL)).backbone, IMAGES)
        for keep in (0.1, 0.25, 0.5)
    ]
    assert found == sorted(found)
    assert 0.25 <= found[1] < 0.45  # whole blocks, and the pinned tokens besides


def test_recipes_survive_json() -> None:
    for recipe in map(by_name, NAMED):
        assert Recipe.from_dict(recipe.to_dict()) == recipe
    with pytest.raises(ValueError, match=r"unknown \['new'\], missing \['keep'\]"):
        Recipe.from_dict({k: v for k, v in Recipe().to_dict().items() if k != "keep"} | {"new": 1})


def test_a_loaded_backbone_knows_where_it_came_from() -> None:
    spec = TeacherSpec(backbone="da3-tiny", weights="random", seed=3)
    assert TeacherSpec.of(spec.load()) == spec


def test_scene_batches_are_the_same_for_the_same_number() -> None:
    class Once:
        drawn = 0

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            Once.drawn += 1
            return type("Scene", (), {"images": torch.full((4, 3, 2, 2), float(index))})

    batches = SceneBatches(Once())
    assert [float(batches.at(i)[0, 0, 0, 0, 0]) for i in range(5)] == [0, 1, 0, 1, 0]
    assert Once.drawn == 2
    torch.manual_seed(0)
    photos = PhotoBatches(torch.arange(5.0)[:, None, None, None].expand(5, 3, 1, 1), 3)
    assert len({float(x) for x in photos.at(0)[0, :, 0, 0, 0]}) == 3


FP8 = ("rowwise", "tensorwise", "block", "mxfp8")


@pytest.mark.parametrize("fp8", FP8)
def test_the_form_that_trains_is_the_reference_of_what_is_deployed(
    teacher: Backbone, fp8: Any, tmp_path: Path
) -> None:
    """Bit for bit with "reference"; FP8 kept as stored weights rounds no activation: near."""
    student = lighten(teacher, Recipe(block=SMALL, fp8=fp8))
    student.save(tmp_path)
    with torch.no_grad():
        trained = student.backbone(IMAGES).depth
        exact = load(tmp_path, backend="reference")
        stored = load(tmp_path)
        assert torch.equal(exact.backbone(IMAGES).depth, trained)
        assert torch.median((stored.backbone(IMAGES).depth / trained - 1).abs()) < 0.02
    assert exact.deployment is not None
    assert stored.deployment is not None
    assert (exact.deployment.backend, stored.deployment.backend) == ("reference", "weight_only")
    assert stored.deployment.layers == exact.deployment.layers > 0
    assert (
        str(stored.deployment)
        == f"FP8 by weight_only in {stored.deployment.layers} layers, float32"
    )


def test_a_student_runs_in_bfloat16(teacher: Backbone, tmp_path: Path) -> None:
    lighten(teacher, Recipe(block=SMALL)).save(tmp_path)
    whole, half = load(tmp_path), load(tmp_path, precision="bfloat16")
    one, other = whole.reconstruct(IMAGES[0]), half.reconstruct(IMAGES[0])
    assert torch.median((other.depth.float() / one.depth - 1).abs()) < 0.05
    assert half.deployment is not None
    assert half.deployment.precision == "bfloat16"


def test_a_student_is_deployed_once_and_saved_before(teacher: Backbone, tmp_path: Path) -> None:
    student = deploy(lighten(teacher, Recipe(block=SMALL)))
    for again in (deploy, lambda s: s.save(tmp_path), lambda s: export(s, tmp_path)):
        with pytest.raises(ValueError, match="deployment=FP8 by weight_only"):
            again(student)
    dense = deploy(lighten(teacher, Recipe(block=SMALL, fp8="none")))
    assert str(dense.deployment) == "float32"


@pytest.mark.parametrize("block", [(3, 3), (16, 24), (8, 16), (16, 512)])
def test_a_recipe_that_cannot_run_is_refused_when_made(block: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"block=\(.*powers of two from 16 to 256"):
        Recipe(block=block)


def test_recipes_change_field_by_field_from_text() -> None:
    made = paper().changed({"keep": "0.1", "block": "32,64", "linear": "complement"})
    assert (made.keep, made.block, made.linear, made.scope) == (0.1, (32, 64), "complement", "both")
    assert paper().changed({"fp8_exclude": "*.fc1,*.fc2"}).fp8_exclude == ("*.fc1", "*.fc2")
    for changes, part in (
        ({"kept": "1"}, "a recipe has: keep"),
        ({"keep": "much"}, "keep=much"),
        ({"linear": "none"}, "linear='none'"),
    ):
        with pytest.raises(ValueError, match=part):
            Recipe().changed(changes)
