"""Public functions refuse tensors of another shape, type, device or batch by name and rule."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recon_backbones import (
    GivenCamera,
    Prediction,
    in_meters,
    load_backbone,
    to_metric,
    umeyama,
    unproject,
)
from recon_backbones.checks import Axes

DEPTH = torch.rand(2, 3, 6, 8) + 1
POSES = torch.eye(3, 4).repeat(2, 3, 1, 1)
LENSES = torch.tensor([[300.0, 0, 4], [0, 300, 3], [0, 0, 1]]).repeat(2, 3, 1, 1)
CLOUD = torch.rand(9, 3)
SEEN = Prediction(depth=DEPTH, depth_conf=DEPTH, world_to_camera=POSES, intrinsics=LENSES)
TINY = load_backbone("da3-tiny", weights="random")
IMAGES = torch.rand(1, 2, 3, 28, 28)
GIVEN = {"world_to_camera": POSES[:1, :2], "intrinsics": LENSES[:1, :2]}


def run(images: Any, world_to_camera: Any, intrinsics: Any) -> Prediction:
    with torch.no_grad():
        return TINY(images, world_to_camera=world_to_camera, intrinsics=intrinsics)


Call = tuple[Callable[..., object], tuple[Tensor, ...]]
CALLS: dict[str, Call] = {
    "unproject": (unproject, (DEPTH, POSES, LENSES)),
    "umeyama": (umeyama, (CLOUD, CLOUD)),
    "scaled": (SEEN.scaled, (torch.ones(2),)),
    "in_meters": (in_meters, (DEPTH, LENSES)),
    "to_metric": (lambda depth, sky: to_metric(SEEN, depth, sky), (DEPTH, torch.zeros_like(DEPTH))),
    "backbone": (run, (IMAGES, *GIVEN.values())),
}
WRONG: dict[str, Callable[[Tensor], object]] = {
    "an axis more": lambda x: x[None],
    "an axis less": lambda x: x[0],
    "a longer last axis": lambda x: torch.cat([x, x[..., :1]], -1),
    "whole numbers": lambda x: x.int(),
    "another device": lambda x: x.to("meta"),
    "no tensor": lambda x: x.numpy(),
    "nothing": lambda x: x.tolist(),
}
REFUSED = r"=\w.*; (it|both) must|must be|the rule is|the images need|floats in|Type-check"


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", CALLS)
def test_every_argument_is_checked_by_name(name: str, wrong: str) -> None:
    function, arguments = CALLS[name]
    if not (name == "backbone" and wrong != "another device"):
        function(*arguments)
    for position in range(len(arguments)):
        maps = arguments[position] is DEPTH and name != "to_metric"
        if maps and wrong == "a longer last axis":
            continue  # a wider map is one as well
        changed: list[object] = list(arguments)
        changed[position] = WRONG[wrong](arguments[position])
        with pytest.raises((ValueError, TypeError), match=REFUSED):
            function(*changed)


def test_points_may_have_any_leading_axes_if_all_have_them() -> None:
    expected = unproject(DEPTH, POSES, LENSES)
    assert torch.equal(unproject(DEPTH[0, 1], POSES[0, 1], LENSES[0, 1]), expected[0, 1])
    with pytest.raises(
        (ValueError, TypeError), match=r"\.\.\. = \(2, 3\), as depth has|Type-check"
    ):
        unproject(DEPTH, POSES[0], LENSES)


def test_lengths_types_and_devices_are_told_apart_by_name() -> None:
    axes = Axes()
    axes.check(torch.zeros(2, 5), "depth", "v x")
    with pytest.raises(ValueError, match="must be v x with x = 5, as depth has"):
        axes.check(torch.zeros(2, 6), "sky", "v x")
    with pytest.raises(ValueError, match=r"must be torch.float32, as depth is: give sky.to\(depth"):
        axes.check(torch.zeros(2, 5).double(), "sky", "v x")
    axes.check(torch.zeros(2, 5).double(), "sky", "v x", one_type=False)
    with pytest.raises(ValueError, match="must be on cpu, as depth is"):
        axes.check(torch.zeros(2, 5, device="meta"), "sky", "v x")
    with pytest.raises(TypeError, match=r"sky=list; it must be a torch.Tensor v x"):
        axes.check([1.0], "sky", "v x")


@pytest.mark.parametrize("shape", [(3, 5), (4,), (2, 4), (1, 3, 4)])
def test_a_given_camera_is_one_matrix(shape: tuple[int, ...]) -> None:
    with pytest.raises((ValueError, TypeError), match=r"a.jpg: world_to_camera=|Type-check"):
        GivenCamera(name="a.jpg", world_to_camera=np.zeros(shape), intrinsics=np.eye(3))
    with pytest.raises((ValueError, TypeError), match=r"a.jpg: intrinsics=|Type-check"):
        GivenCamera(name="a.jpg", world_to_camera=np.eye(4)[:3], intrinsics=np.zeros(shape))


def test_a_given_camera_may_have_a_fourth_row() -> None:
    given = GivenCamera(name="a.jpg", world_to_camera=np.eye(4), intrinsics=np.eye(3))
    assert given.world_to_camera.shape == (3, 4)
    turned = np.eye(4)
    turned[3, 0] = 1
    with pytest.raises(ValueError, match=r"last row .* must be 0 0 0 1"):
        GivenCamera(name="a.jpg", world_to_camera=turned, intrinsics=np.eye(3))
