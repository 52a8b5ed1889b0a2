"""Laws of the objectives: zero at the teacher, right invariances, errors that name the field."""

import copy
import dataclasses
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill import (
    AttentionOutputs,
    Consistency,
    Depth,
    DistillConfig,
    Features,
    Intrinsics,
    Observation,
    Pair,
    Pose,
    Rays,
    Supervised,
    distill,
    freeze_except,
)
from distill.objectives.cameras import pose_difference, relative_to_first
from distill.objectives.consistency import disagreement

OUTPUT_OBJECTIVES = [Depth(), Rays(), Pose(), Intrinsics(), Consistency(stride=1)]


def rotations(generator, *shape):
    q, r = torch.linalg.qr(torch.randn(*shape, 3, 3, generator=generator, dtype=torch.float64))
    q = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    return q * torch.linalg.det(q)[..., None, None]


def geometry(seed=0, b=2, v=3, size=(9, 11)):
    """A wall at world depth 4 seen by cameras near the origin: exact depth everywhere."""
    generator = torch.Generator().manual_seed(seed)
    center = 0.3 * torch.randn(b, v, 3, generator=generator, dtype=torch.float64)
    tilt = 0.05 * torch.randn(b, v, 3, generator=generator, dtype=torch.float64)
    zero = torch.zeros_like(tilt[..., 0])
    x, y, z = tilt.unbind(-1)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    rotation = torch.linalg.matrix_exp(skew)
    world_to_camera = torch.cat([rotation, -rotation @ center.unsqueeze(-1)], -1)
    y, x = size
    k = torch.tensor([[1.2 * x, 0, x / 2], [0, 1.2 * x, y / 2], [0, 0, 1]], dtype=torch.float64)
    rows, columns = torch.meshgrid(torch.arange(y), torch.arange(x), indexing="ij")
    pixels = torch.stack([columns + 0.5, rows + 0.5, torch.ones_like(rows)], -1).double()
    directions = (pixels @ torch.linalg.inv(k).T) @ rotation.unsqueeze(2)  # in the world
    depth = (4 - center[..., 2])[..., None, None] / directions[..., 2]
    return SimpleNamespace(
        depth=depth,
        depth_conf=1 + torch.rand(depth.shape, generator=generator, dtype=torch.float64),
        rays=torch.randn(b, v, 4, 5, 6, generator=generator, dtype=torch.float64),
        rays_conf=1 + torch.rand(b, v, 4, 5, generator=generator, dtype=torch.float64),
        world_to_camera=world_to_camera,
        intrinsics=k.expand(b, v, 3, 3).contiguous(),
    )


def observe(student, teacher, objective):
    return Observation(
        batch=None,
        outputs=student,
        student={},
        teacher={},
        student_fields={name: getattr(student, name) for name in objective.fields},
        teacher_fields={name: getattr(teacher, name) for name in objective.fields},
    )


def leaf(outputs):
    return SimpleNamespace(
        **{name: tensor.clone().requires_grad_() for name, tensor in vars(outputs).items()}
    )


@pytest.mark.parametrize("objective", OUTPUT_OBJECTIVES, ids=lambda o: o.name)
def test_the_loss_and_its_gradient_are_zero_at_the_teacher(objective):
    teacher = geometry()
    student = leaf(teacher)
    loss = objective(observe(student, teacher, objective))
    assert loss.item() == 0.0
    loss.backward()
    compared = set(objective.fields) - {getattr(objective, "confidence", None)}
    assert compared
    for name in compared:
        assert (getattr(student, name).grad == 0).all()


@pytest.mark.parametrize("objective", OUTPUT_OBJECTIVES, ids=lambda o: o.name)
def test_another_geometry_has_a_loss_and_a_gradient(objective):
    teacher, student = geometry(), leaf(geometry(seed=1))
    with torch.no_grad():
        student.intrinsics[..., :2, :2] *= 1.1
    loss = objective(observe(student, teacher, objective))
    loss.backward()
    assert loss > 0
    compared = set(objective.fields) - {getattr(objective, "confidence", None)}
    assert compared
    for name in compared:
        assert (getattr(student, name).grad != 0).any()


@given(seed=st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_pose_does_not_depend_on_the_world_frame(seed):
    generator = torch.Generator().manual_seed(seed)
    one, other = (
        torch.cat(
            [
                rotations(generator, 2, 3),
                torch.randn(2, 3, 3, 1, generator=generator, dtype=torch.float64),
            ],
            -1,
        )
        for _ in range(2)
    )
    frame = torch.cat(
        [
            rotations(generator),
            torch.randn(3, 1, generator=generator, dtype=torch.float64),
        ],
        -1,
    )
    moved = torch.cat([one[..., :3] @ frame[:, :3], one[..., :3] @ frame[:, 3:] + one[..., 3:]], -1)
    torch.testing.assert_close(relative_to_first(moved), relative_to_first(one))
    torch.testing.assert_close(pose_difference(moved, other), pose_difference(one, other))
    scaled = [torch.cat([t[..., :3], 7 * t[..., 3:]], -1) for t in (one, other)]
    torch.testing.assert_close(pose_difference(*scaled), pose_difference(one, other))


def test_pose_measures_one_minus_the_cosine_of_the_angle():
    angle = torch.tensor(0.3, dtype=torch.float64)
    turn = torch.tensor(
        [
            [angle.cos(), -angle.sin(), 0],
            [angle.sin(), angle.cos(), 0],
            [0, 0, 1],
        ],
        dtype=torch.float64,
    )
    still = torch.eye(3, 4, dtype=torch.float64)
    ahead = still + torch.tensor([0.0, 0, 0, 2]).expand(3, 4) * torch.eye(3)[2:].T
    turned = torch.cat([turn, ahead[:, 3:]], -1)
    poses = [torch.stack([still, last]).unsqueeze(0) for last in (turned, ahead)]
    torch.testing.assert_close(pose_difference(*poses), 1 - angle.cos())
    with pytest.raises(ValueError, match="two views"):
        pose_difference(poses[0][:, :1], poses[1][:, :1])


def test_depth_weighs_by_confidence():
    teacher = geometry()
    student = copy.copy(teacher)
    student.depth = teacher.depth * torch.where(teacher.depth_conf > 1.5, 2.0, 1.0).double()
    objective = Depth()
    weights = teacher.depth_conf / teacher.depth_conf.mean()
    expected = (torch.tensor(2.0).log() * (teacher.depth_conf > 1.5) * weights).mean()
    torch.testing.assert_close(
        objective(observe(student, teacher, objective)), expected, check_dtype=False
    )
    teacher.depth_conf = teacher.depth_conf[:, :1]
    with pytest.raises(ValueError, match=r"depth_conf=\(2, 1, 9, 11\); it must have the shape"):
        objective(observe(student, teacher, objective))


def test_consistency_sees_a_wrong_depth_and_nothing_else():
    exact = geometry(size=(30, 40))
    objective = Consistency(aim="zero", stride=1, neighbors=2)
    residual, inside = disagreement(
        exact.depth, exact.world_to_camera, exact.intrinsics, shift=1, stride=1
    )
    assert inside.float().mean() > 0.5
    assert residual[inside].abs().max() < 0.01  # bilinear sampling of a plane's depth
    assert objective(observe(exact, exact, objective)) < 0.005
    wrong = copy.copy(exact)
    wrong.depth = exact.depth.clone()
    wrong.depth[:, 0] *= 1.2
    assert objective(observe(wrong, exact, objective)) > 0.05
    scaled = copy.copy(exact)
    scaled.depth = 3 * exact.depth
    scaled.world_to_camera = exact.world_to_camera * torch.tensor([1.0, 1, 1, 3])
    assert objective(observe(scaled, exact, objective)) < 0.005
    with pytest.raises(ValueError, match="neighbors=3; the batch needs more views"):
        three = dataclasses.replace(objective, neighbors=3)
        three(observe(exact, exact, three))


def test_objectives_add_up_and_are_logged(models, batches):
    teacher, student = models()
    freeze_except(student, "*.proj_l.*")
    pairs = [Pair(teacher="blocks.1.attn", student="blocks.1.attn")]
    objectives = [
        AttentionOutputs(weight=2.0, loss="mse"),
        Features(pairs=(Pair(teacher="blocks.2", student="blocks.2"),), loss="cosine", weight=0.5),
        Depth(confidence=None, weight=0.1),
        Supervised(loss=lambda outputs, batch: (outputs["depth"] - batch.mean(-1)).square().mean()),
    ]
    result = distill(
        student,
        teacher,
        batches,
        pairs=pairs,
        objectives=objectives,
        config=DistillConfig(steps=3),
    )
    losses = result.losses
    assert list(losses) == ["loss", "attention", "features", "depth", "supervised"]
    total = sum(o.weight * losses[o.name] for o in objectives)
    assert losses["loss"] == pytest.approx(total, rel=1e-5)
    assert all(losses[o.name] > 0 for o in objectives)


def test_an_output_that_does_not_exist_is_named(models, batches):
    teacher, student = models()
    with pytest.raises(ValueError, match=r"field='depht'; the outputs .* closest are 'depth'"):
        distill(
            student,
            teacher,
            batches,
            objectives=[Depth(field="depht", confidence=None)],
            config=DistillConfig(steps=3),
        )
    with pytest.raises(ValueError, match="run_until='last_pair'; it computes no outputs"):
        distill(
            student,
            teacher,
            batches,
            objectives=[Depth(confidence=None)],
            config=DistillConfig(steps=3, run_until="last_pair"),
        )


def test_weights_must_be_positive():
    for make in (AttentionOutputs, Depth, Rays, Pose, Intrinsics, Consistency):
        with pytest.raises(ValueError, match=r"weight=0.0; objective '\w+' needs"):
            make(weight=0.0)


class Unchecked(Supervised):
    """One of somebody's own, whose answer no annotation checks."""

    def __call__(self, seen):
        return self.loss(seen.outputs, seen.batch)


@pytest.mark.parametrize(
    ("loss", "kind", "message"),
    [
        (
            lambda outputs, batch: outputs["depth"].mean(1),
            ValueError,
            r"shape \(2,\); it must be one",
        ),
        (lambda outputs, batch: 1.0, TypeError, r"loss of supervised=float; it must be a torch"),
    ],
)
def test_a_loss_that_is_not_one_number_is_refused_by_name(models, batches, loss, kind, message):
    teacher, student = models()
    config = DistillConfig(steps=1)
    with pytest.raises(kind, match=message):
        distill(student, teacher, batches, objectives=[Unchecked(loss=loss)], config=config)
