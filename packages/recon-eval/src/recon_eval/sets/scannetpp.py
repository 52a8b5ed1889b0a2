"""ScanNet++: undistorted DSLR photographs with registered cameras.

    SCENE/dslr/nerfstudio/transforms_undistorted.json
    SCENE/dslr/undistorted_images/DSC00001.JPG, undistorted_anon_masks/DSC00001.png
    (in later releases resized_undistorted_images and resized_undistorted_masks)

Source: C. Yeshwanth et al., "ScanNet++", ICCV 2023, and its toolbox, which writes these files.
Matrices are camera to world as nerfstudio has them: y up and z backwards (OpenGL), in a world whose
x and y are swapped and whose z is reversed. Both are undone here, so that the world is that of the
laser scan. One pinhole for all images; lengths in meters. Masks are white where nothing was made
unrecognizable.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recon_eval.formats.files import require_file, require_folder
from recon_eval.formats.records import Camera
from recon_eval.formats.transforms import read_frames
from recon_eval.sets.frames import Frame, load_frames
from recon_eval.sets.mvsnet import choose
from recon_eval.sets.scene import Scene

TRANSFORMS = "dslr/nerfstudio/transforms_undistorted.json"
IMAGES = ("undistorted_images", "resized_undistorted_images")
MASKS = ("undistorted_anon_masks", "resized_undistorted_masks")
LISTS = ("frames", "test_frames")
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
            raise ValueError(
                f"{self.root}: no folder in it has {TRANSFORMS}; a scene has: give the folder "
                "that holds the scenes' folders"
            )

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Scene:
        folder = self.root / self.scenes[index]
        frames = _frames(folder / TRANSFORMS, folder / "dslr")
        return load_frames(folder.name, choose(frames, self.views, str(folder)), size=self.size)


def _frames(path: Path, folder: Path) -> dict[int, Frame]:
    listed = {camera.name: (camera, frame) for camera, frame in read_frames(path, LISTS)}
    if not listed:
        raise ValueError(f"{path}: names 0 images; a scene has some: copy it again")
    images, masks = _first_folder(folder, IMAGES), _first_folder(folder, MASKS)
    found = []
    for name, (camera, frame) in sorted(listed.items()):
        mask = str(frame.get("mask_path", ""))
        image = require_file((images or folder / IMAGES[0]) / Path(name).name, path)
        found.append(
            Frame(
                name=image.stem,
                image=image,
                camera=_in_scan(camera),
                camera_size=None if camera.size is None else camera.size[::-1],
                mask=require_file(masks / Path(mask).name, path) if masks and mask else None,
                mask_above=254,
            )
        )
    return dict(enumerate(found))


def _in_scan(camera: Camera) -> Camera:
    """The camera in the world of the laser scan."""
    return replace(camera, world_to_camera=camera.world_to_camera @ np.linalg.inv(WORLD))


def _first_folder(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)
