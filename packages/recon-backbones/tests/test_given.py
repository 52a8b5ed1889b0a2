"""A given camera follows the size of its photo, and refuses another shape."""

import numpy as np
import pytest

from recon_backbones import GivenCamera, InputError

LENS = np.array([[90.0, 0, 40], [0, 90.0, 30], [0, 0, 1]])


def camera(size: tuple[int, int] | None = (80, 60)) -> GivenCamera:
    return GivenCamera(name="a.jpg", world_to_camera=np.eye(4), intrinsics=LENS, size=size)


def test_intrinsics_follow_the_size_of_the_photo_and_refuse_its_shape() -> None:
    np.testing.assert_allclose(camera().of_size((160, 120))[:2], 2 * LENS[:2])
    assert camera(size=None).of_size((5, 5)) is LENS
    with pytest.raises(InputError, match="turned by its EXIF tag"):
        camera().of_size((60, 80))
    with pytest.raises(InputError, match="cropped, or is another image"):
        camera().of_size((80, 80))


def test_a_fourth_row_says_nothing_more() -> None:
    assert camera().world_to_camera.shape == (3, 4)


def test_matrices_that_are_transposed_are_refused() -> None:
    with pytest.raises(InputError, match=r"a\.jpg: the last row of intrinsics is \[40.*0 0 1: "):
        GivenCamera(name="a.jpg", world_to_camera=np.eye(4), intrinsics=LENS.T)
    moved = np.eye(4)
    moved[3, 0] = 2.0
    with pytest.raises(InputError, match=r"the last row of world_to_camera is \[2.*0 0 0 1: "):
        GivenCamera(name="a.jpg", world_to_camera=moved, intrinsics=LENS)


def test_a_skew_that_would_be_left_out_is_refused() -> None:
    for place, skew in (((0, 1), 0.1), ((0, 1), -0.1), ((1, 0), 0.1)):
        lens = LENS.copy()
        lens[place] = skew
        with pytest.raises(InputError, match=r"a\.jpg: skew=0\.1; .*: resample the photo"):
            GivenCamera(name="a.jpg", world_to_camera=np.eye(4), intrinsics=lens)
        lens[place] = skew / 10  # what rounding leaves
        GivenCamera(name="a.jpg", world_to_camera=np.eye(4), intrinsics=lens)
