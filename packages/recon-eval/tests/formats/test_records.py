"""Cameras and clouds: checked when made, and moved without losing a part."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon_eval.formats import (
    Camera,
    Observations,
    PointCloud,
    write_colmap,
    write_transforms,
)

LENS = np.array([[90.0, 0, 40], [0, 90.0, 30], [0, 0, 1]])


def camera(**changes: object) -> Camera:
    parts = {"name": "a.jpg", "world_to_camera": np.eye(4)[:3], "intrinsics": LENS}
    return Camera(**parts | {"size": (80, 60)} | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"world_to_camera": np.diag([1.0, 1, -1, 1])[:3]}, "mirrors"),
        ({"world_to_camera": 2 * np.eye(4)[:3]}, "not a rotation"),
        ({"world_to_camera": np.eye(4)[:3] * np.nan}, "NaN"),
        ({"intrinsics": np.diag([-1.0, 1, 1])}, "focal lengths"),
        ({"intrinsics": np.diag([1.0, 1, 2])}, "last row of the intrinsic"),
        ({"size": (0, 5)}, "sides must be at least 1"),
    ],
)
def test_what_is_no_camera_is_refused_by_its_name(changes: dict[str, object], rule: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.jpg: .*{rule}"):
        camera(**changes)


def test_points_project_as_through_the_matrices() -> None:
    one = camera(world_to_camera=np.concatenate([np.eye(3), [[1.0], [0], [2]]], axis=1))
    pixels, depth = one.project(np.array([[0.0, 0, 0], [1, 1, 1], [0, 0, -3]]))
    assert depth.tolist() == [2, 3, -1]
    assert pixels[0].tolist() == [90 / 2 + 40, 30]
    assert pixels[1].tolist() == [2 * 90 / 3 + 40, 90 / 3 + 30]


@given(st.integers(0, 9), st.integers(0, 9))
def test_joining_and_taking_keep_every_part(first: int, second: int) -> None:
    rng = np.random.default_rng(0)
    clouds = [
        PointCloud(
            points=rng.normal(size=(n, 3)),
            colors=rng.integers(0, 255, (n, 3), dtype=np.uint8),
            confidence=rng.random(n),
        )
        for n in (first, second)
    ]
    whole = PointCloud.concatenate(clouds)
    assert len(whole) == first + second and whole.normals is None
    for one, part in ((clouds[0], slice(0, first)), (clouds[1], slice(first, None))):
        for name in ("points", "colors", "confidence"):
            np.testing.assert_array_equal(getattr(whole.take(part), name), getattr(one, name))


def test_parts_of_different_lengths_are_refused() -> None:
    refused = (ValueError, TypeError)  # the second: the checked signature
    with pytest.raises(refused, match=r"colors: has 2 rows; points has 3|Type-check"):
        PointCloud(points=np.zeros((3, 3)), colors=np.zeros((2, 3), np.uint8))
    with pytest.raises(refused, match=r"1 cameras, 2 points and 2 pixels|Type-check"):
        Observations(camera=np.zeros(1, int), point=np.zeros(2, int), xy=np.zeros((2, 2)))


@pytest.mark.parametrize("shape", [(3, 5), (4,), (2, 4), (1, 3, 4), (4, 3)])
def test_a_camera_is_made_of_two_matrices(shape: tuple[int, ...]) -> None:
    """The second pattern is that of a signature that is checked while tests run."""
    for changed in ("world_to_camera", "intrinsics"):
        given = {"world_to_camera": np.eye(4)[:3], "intrinsics": np.eye(3)}
        given[changed] = np.zeros(shape)
        with pytest.raises((ValueError, TypeError), match=rf"a.jpg: {changed}=array|Type-check"):
            Camera(name="a.jpg", **given)
    with pytest.raises(TypeError, match=r"a.jpg: intrinsics=list; it must be a NumPy|Type-check"):
        Camera(name="a.jpg", world_to_camera=np.eye(4)[:3], intrinsics=[[1.0]])  # type: ignore[arg-type]


def test_a_fourth_row_of_a_camera_is_checked_and_dropped() -> None:
    camera = Camera(name="a.jpg", world_to_camera=np.eye(4), intrinsics=np.eye(3))
    np.testing.assert_array_equal(camera.world_to_camera, np.eye(4)[:3])
    turned = np.eye(4)
    turned[3, 0] = 2
    with pytest.raises(ValueError, match="last row of the extrinsic"):
        Camera(name="a.jpg", world_to_camera=turned, intrinsics=np.eye(3))


def test_parts_of_other_shapes_are_named() -> None:
    points, numbers = np.zeros((5, 3)), np.zeros(5, np.int64)
    with pytest.raises((ValueError, TypeError), match=r"points=array of shape \(5, 4\)|Type-check"):
        PointCloud(points=np.zeros((5, 4)))
    with pytest.raises((ValueError, TypeError), match=r"colors=list; it must|Type-check"):
        PointCloud(points=points, colors=[[0, 0, 0]] * 5)  # type: ignore[arg-type]
    with pytest.raises((ValueError, TypeError), match=r"observations.xy=array of|Type-check"):
        Observations(camera=numbers, point=numbers, xy=np.zeros((5, 3)))


def test_colors_that_are_no_bytes_are_refused() -> None:
    with pytest.raises((ValueError, TypeError), match=r"colors=array of float32|Type-check"):
        PointCloud(points=np.zeros((2, 3)), colors=np.ones((2, 3), np.float32))


@pytest.mark.parametrize("skew", [0.2, -0.2, 0.05])
def test_a_skew_is_not_left_out_in_silence(tmp_path: Path, skew: float) -> None:
    lens = np.array([[100.0, skew, 50], [0, 100, 40], [0, 0, 1]])
    camera = Camera(name="a.jpg", world_to_camera=np.eye(4), intrinsics=lens, size=(100, 80))
    refused = pytest.raises(ValueError, match=rf"a.jpg: skew={abs(skew)}; .* has no place for it")
    for name, write in (
        ("sparse", lambda path: write_colmap(path, [camera], PointCloud(points=np.zeros((0, 3))))),
        ("transforms.json", lambda path: write_transforms(path, [camera])),
    ):
        with refused if abs(skew) > 0.1 else nullcontext():  # what rounding leaves is no skew
            write(tmp_path / name)
        assert (tmp_path / name).exists() == (abs(skew) < 0.1)
