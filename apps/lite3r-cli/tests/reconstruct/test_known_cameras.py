"""Cameras that are given to `lite3r reconstruct` come back, or are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .making import NAMES, arrays, run


def test_given_cameras_come_back_as_they_are_and_points_lie_in_their_frame(
    lite3r: Any, room: Path
) -> None:
    done = run(lite3r, room, "--cameras", "cameras.npz")
    assert done.code == 0, done.err
    with np.load("cameras.npz") as truth:
        found = arrays()
        np.testing.assert_allclose(
            found["world_to_camera"], truth["world_to_camera"], rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(found["original_intrinsics"], truth["intrinsics"], rtol=1e-5)
    facts = dict(json.loads(Path("out/reconstruction.json").read_text())["facts"])
    assert facts["frame"] == "that of the given cameras"


def test_its_own_cameras_can_be_given_back(lite3r: Any, room: Path) -> None:
    """What one reconstruction found, another takes: intrinsics follow the preprocessing."""
    assert run(lite3r, room, out="first").code == 0
    done = run(lite3r, room, "--cameras", "first/prediction.npz", out="second")
    assert done.code == 0, done.err
    first, second = arrays("first"), arrays("second")
    for name in ("world_to_camera", "intrinsics", "original_intrinsics"):
        np.testing.assert_allclose(second[name], first[name], rtol=1e-4, atol=1e-4)


def test_cameras_are_refused_for_other_images_and_for_other_shapes(lite3r: Any, room: Path) -> None:
    with np.load("cameras.npz") as data:
        held = dict(data)
    np.savez("others.npz", **(held | {"names": np.array(list("abcd"))}))
    run(lite3r, room, "--cameras", "others.npz").refuses("cameras for other images", "a, b, c")
    sizes = np.array([[120, 120]] * 4)
    np.savez("square.npz", **(held | {"original_size": sizes}))
    run(lite3r, room, "--cameras", "square.npz").refuses("for 120 x 120 pixels", "120 x 90")
    run(lite3r, room, "--cameras", "nowhere").refuses("nowhere: does not exist", "transforms.json")
    run(lite3r, room, "--cameras", "cameras.npz", "--backbone", "vggt-tiny").refuses(
        "vggt-tiny takes no cameras",
    )
    run(lite3r, room, "--cameras", "cameras.npz", "--known-distance", *NAMES[:2], "1").refuses(
        "with cameras; these already give the scale",
    )
    assert not Path("out").exists()


def test_photos_without_a_camera_are_left_out_and_told(lite3r: Any, room: Path) -> None:
    Image.new("RGB", (120, 90), (9, 99, 200)).save(room / "new.png")
    done = run(lite3r, room, "--cameras", "cameras.npz")
    assert done.code == 0, done.err
    assert "left out, without a camera: new.png" in done.err
    assert list(arrays()["names"]) == NAMES
