"""Public functions refuse tensors of another shape, type, device or batch by name and rule."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recon_eval import align, conventions, depth, points, pose
from recon_eval.checks import Axes, matrices_of

MAPS, MASK = torch.rand(3, 4, 5) + 1, torch.ones(3, 4, 5, dtype=torch.bool)
RIG = torch.eye(3, 4).repeat(3, 1, 1)
RIG[:, :, 3] = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0.5]])
LARGE = torch.eye(3, 4).repeat(8, 1, 1)
LARGE[:, :, 3] = torch.rand(8, 3)
LENS, CLOUD, ROW = torch.eye(3).repeat(3, 1, 1), torch.rand(9, 3), torch.rand(9)

Call = tuple[Callable[..., object], tuple[Tensor, ...], dict[str, Any]]
CALLS: dict[str, Call] = {
    "depth.evaluate": (depth.evaluate, (MAPS, MAPS, MASK), {}),
    "depth.align": (depth.align, (ROW, ROW), {"kind": "median"}),
    "depth.measure": (depth.measure, (ROW, ROW), {}),
    "pose.evaluate": (pose.evaluate, (RIG, RIG), {}),
    "pose.pair_errors": (pose.pair_errors, (RIG, RIG), {}),
    "pose.evaluate_trajectory": (pose.evaluate_trajectory, (RIG, RIG), {}),
    "pose.auc_exact": (pose.auc_exact, (ROW,), {"threshold": 3}),
    "points.evaluate": (points.evaluate, (CLOUD, CLOUD), {}),
    "points.chamfer": (points.chamfer, (CLOUD, CLOUD), {"variant": "sum_of_means"}),
    "points.estimate_normals": (points.estimate_normals, (CLOUD,), {"neighbors": 4}),
    "points.back_project": (points.back_project, (MAPS, MASK, RIG, LENS), {}),
    "points.fuse_close": (
        points.fuse_close,
        (MAPS, MASK, RIG, LENS),
        {"max_distance": 1.0, "min_views": 1},
    ),
    "align.umeyama": (align.umeyama, (CLOUD, CLOUD), {}),
    "align.ransac": (align.ransac, (CLOUD, CLOUD), {"threshold": 0.1}),
    "align.icp": (align.icp, (CLOUD, CLOUD), {"max_distance": 1.0}),
    "align.align_cameras": (align.align_cameras, (RIG, RIG), {}),
    "align.align_cameras_ransac": (align.align_cameras_ransac, (LARGE, LARGE), {}),
    "conventions.evaluate_pose": (conventions.evaluate_pose, (RIG, RIG), {"convention": "da3"}),
    "conventions.lite3r.evaluate_pose": (conventions.lite3r.evaluate_pose, (RIG, RIG), {}),
    "conventions.lite3r.evaluate_depth": (
        conventions.lite3r.evaluate_depth,
        (MAPS, MAPS, MASK),
        {},
    ),
    "conventions.lite3r.evaluate_geometry": (
        conventions.lite3r.evaluate_geometry,
        (CLOUD, CLOUD),
        {},
    ),
}
WRONG: dict[str, Callable[[Tensor], object]] = {
    "a batch of scenes": lambda x: x[None],
    "a row less": lambda x: x[..., :-1],
    "one axis": lambda x: x.flatten()[:2, None, None, None],
    "another type": lambda x: x.int(),
    "no tensor": lambda x: x.numpy(),
}
REFUSED = r"=(tensor|ndarray|\d).*; (it|both) must|Type-check"  # the second: the checked signature


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", CALLS)
def test_every_argument_is_checked_by_name(name: str, wrong: str) -> None:
    function, arguments, options = CALLS[name]
    function(*arguments, **options)
    for position in range(len(arguments)):
        changed: list[object] = list(arguments)
        changed[position] = WRONG[wrong](arguments[position])
        if arguments[position] is ROW and wrong == "a row less" and len(arguments) == 1:
            continue  # a shorter list of errors is one as well
        if arguments[position] is CLOUD and wrong == "a row less":
            changed[position] = CLOUD[:, :2]
        with pytest.raises((ValueError, TypeError), match=REFUSED):
            function(*changed, **options)


@pytest.mark.parametrize("name", ["depth.evaluate", "points.back_project", "align.umeyama"])
def test_another_device_is_refused(name: str) -> None:
    function, arguments, options = CALLS[name]
    with pytest.raises(ValueError, match=r"tensor on meta; it must be on cpu, as \w+ is: give"):
        function(*arguments[:-1], arguments[-1].to("meta"), **options)


@pytest.mark.parametrize(
    "name", [name for name, (_, arguments, _) in CALLS.items() if arguments[0].shape[-2:] == (3, 4)]
)
def test_four_rows_say_the_same_as_three(name: str) -> None:
    function, (rig, _), options = CALLS[name]
    bottom = torch.tensor([0.0, 0, 0, 1]).expand(len(rig), 1, 4)
    square = torch.cat([rig, bottom], dim=1)
    assert repr(function(square, rig, **options)) == repr(function(rig, rig, **options))
    assert repr(function(rig, square, **options)) == repr(function(rig, rig, **options))
    turned = square.mT.contiguous()  # column vectors below: the other convention
    turned[:, 3, :3] += 1
    with pytest.raises(ValueError, match="must be 0 0 0 1"):
        function(turned, rig, **options)


def test_cameras_and_centers_take_any_leading_axes() -> None:
    rigs = RIG.repeat(2, 1, 1, 1)
    assert align.camera_centers(rigs).shape == (2, 3, 3)
    fit = align.Similarity(
        scale=2.0, rotation=torch.eye(3).double(), translation=CLOUD[0].double(), spread=1.0
    )
    moved = fit.apply_to_cameras(rigs)
    assert torch.equal(moved[1], fit.apply_to_cameras(RIG))


def test_lengths_are_told_apart_by_name() -> None:
    axes = Axes()
    axes.check(torch.zeros(2, 5), "predicted", "v x")
    with pytest.raises(ValueError, match="must be v x with x = 5, as predicted has: cut it"):
        axes.check(torch.zeros(2, 6), "target", "v x", way="cut it")
    with pytest.raises(ValueError, match=r"valid=tensor of torch\.float32; it must be bool"):
        axes.check(torch.zeros(2, 5), "valid", "v x", boolean=True)
    with pytest.raises(ValueError, match="must end in 3 4 or 4 4"):
        matrices_of(torch.zeros(5, 4), "rig")
    with pytest.raises(TypeError, match=r"rig=ndarray|Type-check"):
        matrices_of(np.zeros((3, 4)), "rig")  # type: ignore[arg-type]
