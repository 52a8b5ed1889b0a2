"""A camera that is known before the network runs."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from recon_backbones.errors import InputError

SKEW = 1e-3  # of the focal length: a pixel across a thousand, which networks and files leave out
SHAPE_TOLERANCE = 0.01  # by which the shapes of a photo and of its camera's image may differ


@dataclass(frozen=True, kw_only=True)
class GivenCamera:
    """One camera, OpenCV (x right, y down, z forward), pixel centers at + 0.5.

    - `name`: of its photo, for errors.
    - `world_to_camera`: [R | t]; a fourth row of 0 0 0 1 is dropped.
    - `size`: width and height of the image that `intrinsics` speak of; None for the photo itself.

    Raises InputError for matrices of other shapes, for other last rows, and for a skew.
    """

    name: str
    world_to_camera: Float64[np.ndarray, "_ 4"]
    intrinsics: Float64[np.ndarray, "3 3"]
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name, value, shapes in (
            ("world_to_camera", self.world_to_camera, ((3, 4), (4, 4))),
            ("intrinsics", self.intrinsics, ((3, 3),)),
        ):
            if np.shape(value) not in shapes:
                rule = " or ".join(f"{rows} x {columns}" for rows, columns in shapes)
                raise InputError(
                    f"{self.name}: {name}=array of shape {np.shape(value)}; it must be {rule}: "
                    "give one camera, OpenCV"
                )
        for name, below, rule in (
            ("world_to_camera", self.world_to_camera[3:], "0 0 0 1"),
            ("intrinsics", self.intrinsics[2:], "0 0 1"),
        ):
            if not np.allclose(below, [int(number) for number in rule.split()], atol=1e-6):
                raise InputError(
                    f"{self.name}: the last row of {name} is {below[0]}; it must be {rule}: give "
                    "world-to-camera matrices and intrinsics in pixels, not transposed"
                )
        skew = float(np.abs(self.intrinsics[[0, 1], [1, 0]]).max())
        if skew > SKEW * abs(self.intrinsics[1, 1]):
            raise InputError(
                f"{self.name}: skew={skew:.4g}; it must be at most {SKEW:g} of the focal length, "
                "as no network sees one and files have no place for it: resample the photo "
                "without it"
            )
        object.__setattr__(self, "world_to_camera", self.world_to_camera[:3])

    def of_size(self, size: tuple[int, int]) -> Float64[np.ndarray, "3 3"]:
        """The intrinsics in pixels of a photo of this width and height.

        Raises InputError when the photo has another shape than the camera's image.
        """
        if self.size is None or self.size == size:
            return self.intrinsics
        across, down = size[0] / self.size[0], size[1] / self.size[1]
        if abs(across / down - 1) > SHAPE_TOLERANCE:
            turned = size == self.size[::-1]
            why = "is turned by its EXIF tag" if turned else "was cropped, or is another image"
            raise InputError(
                f"the camera of {self.name} is for {self.size[0]} x {self.size[1]} pixels "
                f"and the photo has {size[0]} x {size[1]}; it {why}: give the photos that "
                "the cameras were made for"
            )
        return np.diag([across, down, 1.0]) @ self.intrinsics
