"""ETH3D's high-resolution training scenes: undistorted photographs with laser-registered cameras.

    SCENE/images/dslr_images_undistorted/DSC_0001.JPG
    SCENE/dslr_calibration_undistorted/cameras.txt, images.txt

Source: T. Schöps et al., "A multi-view stereo benchmark with high-resolution images and
multi-camera videos", CVPR 2017. Lengths in meters. Depth is published for the distorted images
only, so there is none here.
"""

from collections.abc import Sequence
from pathlib import Path

from recon_eval.formats.colmap import read_colmap_cameras
from recon_eval.formats.files import require_file, require_folder
from recon_eval.sets.frames import Frame, load_frames
from recon_eval.sets.mvsnet import choose
from recon_eval.sets.scene import Scene

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
            raise ValueError(
                f"{self.root}: no folder in it has {MODEL}; a scene has: give the folder that "
                "holds the scenes' folders"
            )

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Scene:
        folder = self.root / self.scenes[index]
        frames = colmap_frames(folder / MODEL, folder / "images")
        return load_frames(folder.name, choose(frames, self.views, str(folder)), size=self.size)


def colmap_frames(model: Path, images: Path) -> dict[int, Frame]:
    """Return the frames of a COLMAP model in order of their names, numbered from 0.

    Raises ValueError where the model is damaged or names an image outside the folder `images`.
    """
    found = {
        camera.name: Frame(
            name=Path(camera.name).stem,
            image=require_file(_inside(images, camera.name, model), model),
            camera=camera,
            camera_size=None if camera.size is None else camera.size[::-1],
        )
        for camera in read_colmap_cameras(model)
    }
    if not found:
        raise ValueError(f"{model}: names no image; a scene has some: copy it again")
    return dict(enumerate(found[name] for name in sorted(found)))


def _inside(folder: Path, name: str, model: Path) -> Path:
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise ValueError(
            f"{model}: the image {name[:60]!r} lies outside {folder}; it must be inside: copy "
            "the scene again"
        )
    return folder / name
