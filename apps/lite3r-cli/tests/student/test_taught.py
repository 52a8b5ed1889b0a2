"""A student is solved for and trained, and deployed as it was."""

from pathlib import Path
from typing import Any

import pytest
import torch

import distill
from distill import Training
from lite3r.bench.quality import compared
from lite3r.distillation.teach import teach
from lite3r.student.compose import lighten
from lite3r.student.deploy import export, load
from lite3r.student.recipes import Recipe, tiles
from recon_backbones import Backbone

from .drawn import IMAGES, content, tiled


def test_solving_lowers_the_loss_before_the_first_step(teacher: Backbone, tmp_path: Path) -> None:
    losses = {}
    for count in (0, 1):
        student = lighten(teacher, tiled())
        result = teach(
            student,
            teacher,
            distill.Views(lambda _: IMAGES[0], views=2),
            Training(steps=1, solve_batches=count),
            seed=0,
            directory=tmp_path / str(count),
        )
        losses[count] = result.losses["loss"]
    assert losses[1] < losses[0]


def test_low_rank_updates_are_deployed_as_they_were_trained(
    teacher: Backbone, tmp_path: Path
) -> None:
    recipe = tiled(trainable="lora", lora_rank=2)
    student = lighten(teacher, recipe)
    with torch.no_grad():
        untrained = lighten(teacher, tiled()).backbone(IMAGES)
        assert torch.equal(student.backbone(IMAGES).depth, untrained.depth)
        for name, value in student.trained().items():
            value.add_(0.02 if name.endswith(".up") else 0.0)
        trained = student.backbone(IMAGES)
    student.save(tmp_path / "trained")
    export(student, tmp_path / "deployed")
    assert not torch.equal(trained.depth, untrained.depth)
    for folder in ("trained", "deployed"):
        with torch.no_grad():
            again = load(tmp_path / folder, backend="reference", precision="float32").backbone(
                IMAGES
            )
        assert torch.equal(again.depth, trained.depth), folder


@pytest.mark.parametrize("trainable", ["gains", "lora", "attn", "all"])
def test_a_content_order_is_taught_without_projections(teacher: Backbone, trainable: Any) -> None:
    student = lighten(teacher, content(trainable=trainable, lora_rank=2), calibrate=IMAGES)
    before = {name: value.clone() for name, value in student.kept().items()}
    training = Training(steps=2, match="cameras", ema_decay=0.5)
    result = teach(student, teacher, distill.Views(lambda _: IMAGES[0], views=2), training, seed=0)
    assert result.averaged
    changed = {n for n, value in student.kept().items() if not torch.equal(value, before[n])}
    assert changed
    assert not any(name.endswith(".directions") for name in changed)
    if trainable == "gains":  # no matrix, so that FP8 codes stay those that suit the inputs
        assert all(student.backbone.get_parameter(name).ndim == 1 for name in changed)


def test_nothing_is_taught_to_a_recipe_that_trains_nothing() -> None:
    assert Training().of(Recipe().trainable).steps == 0
    assert Training().of(tiles().trainable).steps == 80
    assert Training().of(tiles().trainable).learning_rate == 10 * 1e-4
    with pytest.raises(ValueError, match="steps=5 with trainable=none; something must train"):
        Training(steps=5).of(Recipe().trainable)


def test_last_layers_are_solved_for_and_stay_near_what_they_were(teacher: Backbone) -> None:
    student = lighten(teacher, content(trainable="out"), calibrate=IMAGES)
    place = "model.backbone.pretrained.blocks"
    names = {f"{place}.{b}.attn.proj.{part}" for b in (3, 5, 7, 9) for part in ("weight", "bias")}
    before = {name: value.clone() for name, value in student.trained().items()}
    assert set(before) == names
    site = f"{place}.3.attn"
    aim = heard(teacher, site)
    error = (heard(student.backbone, site) - aim).norm()
    way = Training(solve_batches=2)
    assert teach(student, teacher, distill.Views(lambda _: IMAGES[0], views=2), way, seed=0) is None
    assert (heard(student.backbone, site) - aim).norm() < error
    for name, value in student.trained().items():
        if name.endswith("weight"):
            assert 0 < (value - before[name]).norm() < 0.5 * before[name].norm()


def heard(network: Backbone, site: str) -> torch.Tensor:
    """What a module puts out on the images."""
    found: list[torch.Tensor] = []
    handle = network.get_submodule(site).register_forward_hook(
        lambda *given: found.append(given[2])
    )
    with torch.no_grad():
        compared(network, IMAGES)
    handle.remove()
    return found[0]
