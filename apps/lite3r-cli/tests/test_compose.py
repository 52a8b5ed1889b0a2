"""A student is its teacher but for what the recipe says, and is taught what it deploys."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import distill
from distill import Training
from lite3r.bench.costs import kept_density
from lite3r.bench.quality import compared
from lite3r.distillation.rows import weights
from lite3r.distillation.teach import teach
from lite3r.student.axes import _drawn, run_on_drawn  # as they are, whatever tests put there
from lite3r.student.compose import lighten
from lite3r.student.deploy import AGREES, deploy, export, load
from lite3r.student.files import DEPLOYED
from lite3r.student.recipes import NAMED, Recipe, by_name, fast, paper, tiles
from lite3r.student.student import TeacherSpec
from recon_backbones import Backbone, load_backbone, weights_digest
from sla_kernels import SparseLinearAttention, stored_calibration

IMAGES = torch.rand(1, 2, 3, 140, 126, generator=torch.Generator().manual_seed(0))


def tiled(**changes: Any) -> Recipe:
    return replace(tiles(), **changes)


@pytest.fixture
def teacher() -> Backbone:
    return load_backbone("da3-tiny", weights="random")


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


def test_density_follows_keep(teacher: Backbone) -> None:
    found = [
        kept_density(lighten(teacher, tiled(keep=keep)).backbone, IMAGES)
        for keep in (0.1, 0.25, 0.5)
    ]
    assert found == sorted(found)
    assert 0.25 <= found[1] < 0.45  # whole blocks, and the pinned tokens besides


def test_recipes_survive_json() -> None:
    for recipe in map(by_name, NAMED):
        assert Recipe.from_dict(recipe.to_dict()) == recipe
    with pytest.raises(ValueError, match=r"unknown \['new'\] and missing \['keep'\]"):
        Recipe.from_dict({k: v for k, v in Recipe().to_dict().items() if k != "keep"} | {"new": 1})


def test_students_from_before_orders_load() -> None:
    """Their recipes have no order, no summary and no axes: they keep tiles as they come."""
    new = ("order", "summary", "opened", "axes", "offsets")
    old = {k: v for k, v in tiles().to_dict().items() if k not in new}
    assert Recipe.from_dict(old) == replace(tiles(), opened=24, axes=8, offsets=False)


def test_students_from_before_more_was_stored_keep_as_little_as_fp8() -> None:
    old = {k: v for k, v in Recipe().to_dict().items() if k != "fp8_stored"}
    assert Recipe.from_dict(old) == replace(Recipe(), fp8_stored=())


def test_students_from_before_roundings_suited_anything_keep_the_nearest() -> None:
    old = {k: v for k, v in Recipe().to_dict().items() if k != "rounding"}
    assert Recipe.from_dict(old) == replace(Recipe(), rounding="nearest")


def test_fp8_that_suits_its_inputs_answers_nearer_than_the_nearest_codes(teacher: Backbone) -> None:
    found = {}
    for way, changes in {
        "none": {"fp8": "none"},
        "nearest": {"rounding": "nearest"},
        "inputs": {"rounding": "inputs"},
    }.items():
        recipe = replace(Recipe(), keep=1.0, fp8_stored=(), **changes)
        student = lighten(teacher, recipe, calibrate=IMAGES)
        with torch.no_grad():
            found[way] = deploy(student, precision="float32").backbone(IMAGES).depth
    errors = {way: float((found[way] - found["none"]).abs().mean()) for way in found}
    assert 0 < errors["inputs"] < 0.5 * errors["nearest"]


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("came", [True, False])
def test_the_file_of_a_student_is_as_large_as_it_is_said(
    tmp_path: Path, precision: Any, came: bool
) -> None:
    teacher = load_backbone("da3-tiny", weights="bundled")
    if not came:  # in bfloat16
        with torch.no_grad():
            for weight in teacher.parameters():
                weight.mul_(1 + 2**-12)
    student = lighten(teacher, tiled())
    export(lighten(teacher, tiled()), tmp_path)
    light = deploy(student, precision=precision).backbone
    told = weights(light, teacher=teacher)["disk_mb"]
    assert told == pytest.approx((tmp_path / DEPLOYED).stat().st_size / 1e6, rel=0.03)


def test_the_weights_of_a_deployed_student_take_at_most_three_tenths(teacher: Backbone) -> None:
    whole = weights(teacher)["weights_mb"]
    light = deploy(lighten(teacher, tiled()), precision="bfloat16").backbone
    assert weights(light, teacher=teacher)["weights_mb"] <= 0.3 * whole
    head = light.get_submodule("model.head.resize_layers.0")
    assert head.get_buffer("weight_codes").dtype == torch.float8_e4m3fn


@pytest.mark.parametrize("field", ["fp8_stored", "fp8_include"])
def test_every_matrix_may_be_kept_as_fp8_and_run_in_bfloat16(teacher: Backbone, field: str) -> None:
    """Also those of the camera decoder, which computes in float32."""
    changes: dict[str, Any] = {field: ("*",)}
    student = lighten(teacher, tiled(rounding="nearest", **changes))
    with torch.no_grad():
        trained = student.backbone(IMAGES)
        ran = deploy(student, precision="bfloat16").backbone(IMAGES)
    torch.testing.assert_close(ran.depth, trained.depth, rtol=0.05, atol=0)
    torch.testing.assert_close(ran.world_to_camera, trained.world_to_camera, rtol=0, atol=0.05)


@pytest.mark.parametrize("trainable", ["out", "gains", "lora", "all"])
def test_every_other_matrix_may_be_kept_as_fp8_whatever_trains(
    teacher: Backbone, tmp_path: Path, trainable: Any
) -> None:
    """Layers that train in FP8 are quantized already: "*" means all but these."""
    recipe = tiled(rounding="nearest", fp8_stored=("*",), trainable=trainable)
    student = lighten(teacher, recipe)
    with torch.no_grad():
        depth = student.backbone(IMAGES).depth
    student.save(tmp_path)
    ran = load(tmp_path, precision="float32", backend="reference").backbone
    with torch.no_grad():
        assert torch.equal(ran(IMAGES).depth, depth)


def content(**changes: Any) -> Recipe:
    """A content order small enough that some blocks of two small images are left out."""
    return replace(Recipe(), keep=2, opened=2, summary=(4, 16), fp8="none", **changes)


def test_the_axes_of_an_order_travel_with_the_student(teacher: Backbone, tmp_path: Path) -> None:
    """What is loaded orders tokens as what was saved, with either kind of file."""
    student = lighten(teacher, replace(content(), fp8="rowwise"), calibrate=IMAGES)
    axes = stored_calibration(student.backbone)
    assert {name.rpartition(".")[2] for name in axes} == {"directions", "offsets"}
    assert len(axes) == 8
    assert all(float(one.abs().max()) > 0 for one in axes.values())
    student.save(tmp_path / "saved")
    with torch.no_grad():
        depth = student.backbone(IMAGES).depth
    export(student, tmp_path / "exported")
    for folder in ("saved", "exported"):
        again = load(tmp_path / folder, backend="reference", precision="float32").backbone
        for name, found in stored_calibration(again).items():
            assert torch.equal(found, axes[name]), folder
        with torch.no_grad():
            assert torch.equal(again(IMAGES).depth, depth), folder


def test_axes_stay_in_float32_and_the_teacher_as_it_was(teacher: Backbone) -> None:
    before = weights_digest(teacher)
    student = lighten(teacher, content(), calibrate=IMAGES)
    axes = stored_calibration(student.backbone)
    light = deploy(student, precision="bfloat16").backbone
    for name, found in stored_calibration(light).items():
        assert torch.equal(found, axes[name])
    assert {p.dtype for p in light.parameters()} == {torch.bfloat16}
    assert weights_digest(teacher) == before


def test_drawn_are_three_rooms_and_four_scenes_of_the_world_at_the_size_of_whole_patches(
    teacher: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lite3r.student.axes._drawn", _drawn)
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(teacher, "forward", lambda images, **_: seen.append(images))
    run_on_drawn(teacher, 30)
    assert [tuple(images.shape) for images in seen] == [(1, 8, 3, 28, 28)] * 3 + [
        (1, 12, 3, 28, 28)
    ] * 4
    assert all(0 <= images.min() < images.max() <= 1 for images in seen)


def test_axes_are_found_on_what_is_given_and_on_drawn_scenes_otherwise(teacher: Backbone) -> None:
    seen = []
    ways: dict[str, Any] = {
        "images": IMAGES,
        "callable": lambda backbone: seen.append(backbone(IMAGES)),
        "drawn": None,
    }
    found = {
        name: next(
            iter(stored_calibration(lighten(teacher, content(), calibrate=how).backbone).values())
        )
        for name, how in ways.items()
    }
    assert len(seen) == 2  # for the axes, and then for what cells understate
    assert torch.equal(found["images"], found["callable"])
    assert not torch.equal(found["images"], found["drawn"])


def test_an_adapter_without_its_axes_is_refused(teacher: Backbone, tmp_path: Path) -> None:
    lighten(teacher, content(), calibrate=IMAGES).save(tmp_path)
    values = load_file(tmp_path / "adapter.safetensors")
    gone = min(values)
    save_file({k: v for k, v in values.items() if k != gone}, tmp_path / "adapter.safetensors")
    with pytest.raises(ValueError, match=rf"1 missing \({gone}\)"):
        load(tmp_path)


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


def test_a_loaded_backbone_knows_where_it_came_from() -> None:
    spec = TeacherSpec(backbone="da3-tiny", weights="random", seed=3)
    assert TeacherSpec.of(spec.load()) == spec


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


FP8 = ("rowwise", "tensorwise", "mxfp8")


@pytest.mark.multiplies
@pytest.mark.parametrize("fp8", FP8)
def test_the_form_that_trains_is_the_reference_of_what_is_deployed(
    teacher: Backbone, fp8: Any, tmp_path: Path
) -> None:
    """Each backend that runs here is as near as it says; "reference" bit for bit."""
    student = lighten(teacher, tiled(fp8=fp8))
    student.save(tmp_path)
    with torch.no_grad():
        trained = student.backbone(IMAGES).depth
    backends = [b for b in AGREES if b != "scaled_mm" or fp8 in ("rowwise", "tensorwise")]
    assert len(backends) >= 2
    for backend in backends:
        light = load(tmp_path, backend=backend, precision="float32")
        with torch.no_grad():
            change = (light.backbone(IMAGES).depth / trained - 1).abs().median()
        assert change <= AGREES[backend], backend
        assert light.deployment is not None
        assert light.deployment.layers > 0
        told = f"FP8 by {backend} in {light.deployment.layers} layers, float32"
        assert str(light.deployment) == told


def test_auto_multiplies_no_fp8_where_the_device_does_not(
    teacher: Backbone, tmp_path: Path
) -> None:
    lighten(teacher, tiled()).save(tmp_path)
    light = load(tmp_path).deployment
    assert light is not None
    assert light.backend == "weight_only"


def test_a_student_runs_in_bfloat16(teacher: Backbone, tmp_path: Path) -> None:
    lighten(teacher, tiled()).save(tmp_path)
    whole, half = (load(tmp_path, precision=p) for p in ("float32", "bfloat16"))
    one, other = whole.reconstruct(IMAGES[0]), half.reconstruct(IMAGES[0])
    assert torch.median((other.depth.float() / one.depth - 1).abs()) < 0.05
    assert half.deployment is not None
    assert half.deployment.precision == "bfloat16"


def test_a_student_is_deployed_once_and_saved_before(teacher: Backbone, tmp_path: Path) -> None:
    student = deploy(lighten(teacher, tiled()))
    for again in (deploy, lambda s: s.save(tmp_path), lambda s: export(s, tmp_path)):
        with pytest.raises(ValueError, match="deployment=FP8 by weight_only"):
            again(student)
    dense = deploy(lighten(teacher, tiled(fp8="none")), precision="float32")
    assert str(dense.deployment) == "float32"


@pytest.mark.parametrize("block", [(3, 3), (16, 24), (8, 16), (16, 512)])
def test_a_recipe_that_cannot_run_is_refused_when_made(block: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"block=\(.*powers of two from 16 to 256"):
        tiled(block=block)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"keep": 0}, "keep=0; "),
        ({"keep": 1.5}, "keep=1.5; "),
        ({"keep": ()}, r"keep=\(\); "),
        ({"keep": (8, 0)}, "keep=0; "),
        ({"block": (64, 8)}, r"block=\(64, 8\); the smallest cells must be"),
        ({"summary": (4, 6)}, r"summary=\(4, 6\); "),
        ({"opened": 0}, "opened=0; "),
        ({"linear": "complement"}, "complement"),
        ({"estimator": "subblock_lse"}, "estimator='subblock_lse'"),
        ({"trainable": "proj"}, "trainable='proj' with linear='none'; "),
    ],
)
def test_a_content_order_that_cannot_run_is_refused_when_made(
    changes: dict[str, Any], part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        replace(Recipe(), **changes)


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


def test_recipes_change_field_by_field_from_text() -> None:
    made = paper().changed({"keep": "0.1", "block": "32,64", "linear": "complement"})
    assert (made.keep, made.block, made.linear, made.scope) == (0.1, (32, 64), "complement", "both")
    assert paper().changed({"fp8_exclude": "*.fc1,*.fc2"}).fp8_exclude == ("*.fc1", "*.fc2")
    balanced = Recipe().changed({"keep": "16", "summary": "4,32", "opened": "12"})
    assert (balanced.keep, balanced.summary, balanced.opened) == (16, (4, 32), 12)
    assert Recipe().changed({"keep": "16, 8,4"}).keep == (16, 8, 4)
    assert tiles().changed({"summary": "", "keep": "1.0"}).summary == ()
    for changes, part in (
        ({"kept": "1"}, "a recipe has: keep"),
        ({"keep": "much"}, "keep=much"),
        ({"keep": "8,0.5"}, "keep=8,0.5"),
        ({"linear": "some"}, "linear='some'"),
        ({"order": "sorted"}, "order='sorted'; it must be known: "),
    ):
        with pytest.raises(ValueError, match=part):
            Recipe().changed(changes)
