"""ETH3D's high-resolution training scenes: undistorted photographs with laser-registered cameras.

    SCENE/images/dslr_images_undistorted/DSC_0001.JPG
    SCENE/dslr_calibration_undistorted/cameras.txt, images.txt

Source: T. Schöps et al., "A multi-view stereo benchmark with high-resolution images and
multi-camera videos", CVPR 2017. Lengths in metres. Depth is published for the distorted images
only, so there is none here.
"""

from collections.abc import Sequence
from pathlib import Path

from .colmap import colmap_frames
from .files import require_folder
from .frames import load_frames
from .mvsnet import choose
from .scene import Scene

MODEL = "dslr_calibration_undistorted"


class ETH3D:
    """Scenes under `root` by name; `dataset[i]` is a `Scene` of the chosen views.

    Cameras of one scene differ by a few pixels in size, so the (height, width) `size` is required.
    `views` are numbers in the order of the image names, or how many to take evenly, or None for
    all.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        size: tuple[int, int],
        scenes: Sequence[str] | None = None,
        views: int | Sequence[int] | None = None,
    ) -> None:
        self.root = require_folder(root, "the folder of ETH3D scenes")
        present = sorted(path.parent.name for path in self.root.glob(f"*/{MODEL}"))
        for name in scenes or ():
            if name not in present:
                raise FileNotFoundError(f"{self.root / name}: has no {MODEL}")
        self.scenes = list(scenes) if scenes is not None else present
        self.size, self.views = size, views
        if not self.scenes:
            raise ValueError(f"{self.root}: no folder in it has {MODEL}")

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Scene:
        folder = self.root / self.scenes[index]
        frames = colmap_frames(folder / MODEL, folder / "images")
        return load_frames(folder.name, choose(frames, self.views, str(folder)), size=self.size)
