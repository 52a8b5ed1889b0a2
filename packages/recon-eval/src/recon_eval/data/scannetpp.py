"""ScanNet++: undistorted DSLR photographs with registered cameras.

    SCENE/dslr/nerfstudio/transforms_undistorted.json
    SCENE/dslr/undistorted_images/DSC00001.JPG, undistorted_anon_masks/DSC00001.png
    (in later releases resized_undistorted_images and resized_undistorted_masks)

Source: C. Yeshwanth et al., "ScanNet++", ICCV 2023, and its toolbox, which writes these files.
Matrices are camera to world as nerfstudio has them: y up and z backwards (OpenGL), in a world whose
x and y are swapped and whose z is reversed. Both are undone here, so that the world is that of the
laser scan. One pinhole for all images; lengths in metres. Masks are white where nothing was made
unrecognisable.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .cam_txt import check_camera
from .files import parse_json, read_bounded, require_folder
from .frames import Frame, Pinhole, load_frames
from .mvsnet import choose, require_file
from .scene import Scene

MAX_BYTES = 1 << 28
TRANSFORMS = "dslr/nerfstudio/transforms_undistorted.json"
IMAGES = ("undistorted_images", "resized_undistorted_images")
MASKS = ("undistorted_anon_masks", "resized_undistorted_masks")
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
WORLD = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])


class ScanNetPP:
    """Scenes under `root` by name; `dataset[i]` is a `Scene` of the chosen views.

    `views` are numbers in the order of the image names, or how many to take evenly, or None for
    all.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        scenes: Sequence[str] | None = None,
        views: int | Sequence[int] | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.root = require_folder(root, "the folder of ScanNet++ scenes")
        present = sorted(path.parents[2].name for path in self.root.glob(f"*/{TRANSFORMS}"))
        for name in scenes or ():
            if name not in present:
                raise FileNotFoundError(f"{self.root / name}: has no {TRANSFORMS}")
        self.scenes = list(scenes) if scenes is not None else present
        self.views, self.size = views, size
        if not self.scenes:
            raise ValueError(f"{self.root}: no folder in it has {TRANSFORMS}")

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Scene:
        folder = self.root / self.scenes[index]
        frames = _frames(folder / TRANSFORMS, folder / "dslr")
        return load_frames(folder.name, choose(frames, self.views, str(folder)), size=self.size)


def _frames(path: Path, folder: Path) -> dict[int, Frame]:
    stored = parse_json(read_bounded(path, MAX_BYTES), path)
    try:
        fx, fy, cx, cy = (float(stored[name]) for name in ("fl_x", "fl_y", "cx", "cy"))
        size = (int(stored["h"]), int(stored["w"]))
        listed = {
            str(frame["file_path"]): (
                np.array(frame["transform_matrix"], dtype=np.float64),
                str(frame.get("mask_path", "")),
            )
            for frame in [*stored["frames"], *stored.get("test_frames", ())]
        }
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path}: is no file of undistorted transforms: {error!r}") from None
    if not listed or min(size) < 1:
        raise ValueError(f"{path}: names {len(listed)} images of {size[0]} x {size[1]} pixels")
    intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    images, masks = _first_folder(folder, IMAGES), _first_folder(folder, MASKS)
    found = []
    for name, (matrix, mask) in sorted(listed.items()):
        extrinsic = _extrinsic(matrix, f"{path}: {name}")
        check_camera(extrinsic, intrinsics, f"{path}: {name}")
        image = require_file((images or folder / IMAGES[0]) / Path(name).name, path)
        frame = Frame(
            name=image.stem,
            image=image,
            camera=Pinhole(world_to_camera=extrinsic[:3], intrinsics=intrinsics),
            camera_size=size,
            mask=require_file(masks / Path(mask).name, path) if masks and mask else None,
            mask_above=254,
        )
        found.append(frame)
    return dict(enumerate(found))


def _extrinsic(matrix: np.ndarray, where: str) -> np.ndarray:
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"{where}: the matrix is not 4 x 4 finite numbers")
    return np.linalg.pinv(WORLD @ matrix @ FLIP)


def _first_folder(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)
