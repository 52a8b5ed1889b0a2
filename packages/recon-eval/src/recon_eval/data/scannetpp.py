"""ScanNet++: undistorted DSLR photographs with registered cameras.

    SCENE/dslr/undistorted_images/DSC00001.JPG   (the folder that ScanNet++'s tools write)
    SCENE/dslr/nerfstudio/transforms_undistorted.json

Source: C. Yeshwanth et al., "ScanNet++", ICCV 2023. The file holds camera-to-world matrices with y
up and z backwards (OpenGL) and one pinhole for all images. Lengths in metres.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .cam_txt import check_camera
from .files import read_bounded, require_folder
from .frames import Frame, Pinhole, load_frames
from .mvsnet import choose, require_file
from .scene import Scene

MAX_BYTES = 1 << 28
TRANSFORMS = "dslr/nerfstudio/transforms_undistorted.json"
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


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
        frames = _frames(folder / TRANSFORMS, folder / "dslr/undistorted_images")
        return load_frames(folder.name, choose(frames, self.views, str(folder)), size=self.size)


def _frames(path: Path, images: Path) -> dict[int, Frame]:
    try:
        stored = json.loads(read_bounded(path, MAX_BYTES))
        fx, fy, cx, cy = (float(stored[name]) for name in ("fl_x", "fl_y", "cx", "cy"))
        size = (int(stored["h"]), int(stored["w"]))
        poses = {
            str(frame["file_path"]): np.array(frame["transform_matrix"], dtype=np.float64)
            for frame in [*stored["frames"], *stored.get("test_frames", ())]
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is no file of undistorted transforms: {error!r}") from None
    intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    found = []
    for name in sorted(poses):
        if poses[name].shape != (4, 4) or not np.isfinite(poses[name]).all():
            raise ValueError(f"{path}: the matrix of {name} is not 4 x 4 finite numbers")
        extrinsic = np.linalg.pinv(poses[name] @ FLIP)
        check_camera(extrinsic, intrinsics, f"{path}: {name}")
        image = require_file(images / Path(name).name, path)
        camera = Pinhole(world_to_camera=extrinsic[:3], intrinsics=intrinsics)
        found.append(Frame(name=image.stem, image=image, camera=camera, camera_size=size))
    if not found:
        raise ValueError(f"{path}: names no image")
    return dict(enumerate(found))
