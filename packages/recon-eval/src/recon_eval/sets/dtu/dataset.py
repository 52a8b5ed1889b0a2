"""DTU's photographs and cameras in the layouts that are in use; lengths in millimeters.

    dtu64         Cameras/00000000_cam.txt, scan1/image/000000.png [, scan1/mask/000.png]
    idr           scan1/image/000000.png, scan1/mask/000.png, scan1/cameras.npz
                  (NeuS: cameras_sphere.npz)
    mvsnet_test   scan1/images/00000000.jpg, scan1/cams/00000000_cam.txt [, depths, binary_masks]
    mvsnet_train  Rectified/scan1_train/rect_001_3_r5000.png, Cameras/train/00000000_cam.txt,
                  Depths/scan1_train/depth_map_0000.pfm and depth_visual_0000.png
                  (CasMVSNet: Depths_raw/scan1/...)
    official      Rectified/scan1/rect_001_3_r5000.png, Cameras/00000000_cam.txt
                  [, Depths_raw/scan1/... or, as Depth Anything 3, depth_raw/Depths/scan1/...]
    sample_set    Rectified/scan1/rect_001_3_r5000.png, Calibration/cal18/pos_001.txt

Images of the last three count from 1, as does `Calibration`; other cameras count from 0. `Cameras`
and `Calibration` speak of 1600 x 1200 pixels, whatever size the images have, and raw depth maps
have that size.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from recon_eval.formats.cam_txt import HALF, read_cam_txt
from recon_eval.formats.files import require_file, require_folder
from recon_eval.formats.images import SUFFIXES
from recon_eval.formats.records import Camera
from recon_eval.sets.dtu.projections import read_idr_cameras, read_projection
from recon_eval.sets.dtu.scans import scan_numbers
from recon_eval.sets.frames import Frame, load_frames
from recon_eval.sets.mvsnet import by_number, choose, mvsnet_frames
from recon_eval.sets.scene import Scene

Layout = Literal["dtu64", "idr", "mvsnet_test", "mvsnet_train", "official", "sample_set"]
FULL = (1200, 1600)
TRAIN = (512, 640)
TRAIN_CORNER = (44, 80)  # where a training image begins in a halved photograph
LIGHT = 3  # the one that evaluation uses: all lamps on
RAW_DEPTHS = ("Depths_raw", "depth_raw/Depths")
IDR_CAMERAS = ("cameras.npz", "cameras_sphere.npz")
VISUAL = 10  # depth_visual is a picture of the depth: what is above this has one


class DTU:
    """Scans of DTU: `dataset[i]` is a `Scene` of the chosen views of one scan.

    `scans` are numbers or the name of a list in `recon_eval.dtu.SCANS`. The layout is recognized
    scan by scan unless it is given. `views` are frame numbers counted from 0, or how many to take
    evenly, or None for all; scans have 49 or 64. The view numbered `first`, which must be among
    them, comes first.
    """

    def __init__(
        self,
        root: str | Path,
        scans: str | Sequence[int],
        *,
        layout: Layout | None = None,
        views: int | Sequence[int] | None = None,
        size: tuple[int, int] | None = None,
        first: int | None = None,
        light: int = LIGHT,
    ) -> None:
        if layout is not None and layout not in LAYOUTS:
            raise ValueError(
                f"layout={layout!r}; it must be known: pass one of {', '.join(LAYOUTS)}"
            )
        self.root = require_folder(root, "the folder of DTU")
        self.scans = scan_numbers(scans)
        self.views, self.first, self.size = views, first, size
        self.light = light
        if not self.scans:
            raise ValueError("scans: is empty; there must be one at least: name some")
        self.layouts = {scan: layout or find_layout(self.root, scan) for scan in self.scans}

    def __len__(self) -> int:
        return len(self.scans)

    def frames(self, index: int) -> list[Frame]:
        """Return the files of item `index`."""
        scan = self.scans[index]
        found = LAYOUTS[self.layouts[scan]](self.root, scan, self.light)
        chosen = choose(found, self.views, f"{self.root} scan {scan}")
        if self.first is None:
            return chosen
        leading = [frame for frame in chosen if frame is found.get(self.first)]
        if not leading:
            raise ValueError(
                f"{self.root}: first={self.first}; it must be one of the views of scan "
                f"{scan}: leave it out for the first"
            )
        return leading + [frame for frame in chosen if frame is not leading[0]]

    def __getitem__(self, index: int) -> Scene:
        name, frames = f"scan{self.scans[index]}", self.frames(index)
        return load_frames(name, frames, size=self.size)


def find_layout(root: Path, scan: int) -> Layout:
    """Return the layout in which a scan lies under `root`; FileNotFoundError where in none."""
    marks: list[tuple[Layout, str, str]] = [
        *(("idr", f"scan{scan}/image", f"scan{scan}/{name}") for name in IDR_CAMERAS),
        ("dtu64", f"scan{scan}/image", "Cameras"),
        ("mvsnet_test", f"scan{scan}/images", f"scan{scan}/cams"),
        ("mvsnet_train", f"Rectified/scan{scan}_train", "Cameras/train"),
        ("official", f"Rectified/scan{scan}", "Cameras"),
        ("sample_set", f"Rectified/scan{scan}", "Calibration/cal18"),
    ]
    for layout, images, cameras in marks:
        if (root / images).is_dir() and (root / cameras).exists():
            return layout
    known = "; ".join(f"{layout}: {images}, {cameras}" for layout, images, cameras in marks)
    raise FileNotFoundError(f"{root}: scan {scan} is there in no known layout ({known})")


def _dtu64(root: Path, scan: int, light: int) -> dict[int, Frame]:
    folder = root / f"scan{scan}"
    masks = by_number(folder / "mask", SUFFIXES) if (folder / "mask").is_dir() else {}
    return {
        number: Frame(
            name=image.stem,
            image=image,
            camera=require_file(root / f"Cameras/{number:08d}_cam.txt", image),
            camera_size=FULL,
            mask=masks.get(number),
        )
        for number, image in by_number(folder / "image", SUFFIXES).items()
    }


def _idr(root: Path, scan: int, light: int) -> dict[int, Frame]:
    folder = root / f"scan{scan}"
    masks = by_number(folder / "mask", SUFFIXES) if (folder / "mask").is_dir() else {}
    path = _first_file(folder, IDR_CAMERAS)
    if path is None:
        raise FileNotFoundError(f"{folder}: has no {' or '.join(IDR_CAMERAS)}")
    cameras = read_idr_cameras(path)
    images = by_number(folder / "image", SUFFIXES)
    if missing := sorted(set(images) - set(cameras)):
        raise ValueError(
            f"{path}: has no world_mat of the images {missing}; every image has one: copy it again"
        )
    return {
        number: Frame(
            name=image.stem,
            image=image,
            camera=cameras[number],
            camera_size=FULL,
            mask=masks.get(number),
        )
        for number, image in images.items()
    }


def _mvsnet_test(root: Path, scan: int, light: int) -> dict[int, Frame]:
    return mvsnet_frames(root / f"scan{scan}")


def _mvsnet_train(root: Path, scan: int, light: int) -> dict[int, Frame]:
    small, raw = root / f"Depths/scan{scan}_train", _raw_depths(root, scan)
    depths = raw if raw is not None and not small.is_dir() else small
    return {
        number: Frame(
            name=image.stem,
            image=image,
            camera=_train_camera(require_file(root / f"Cameras/train/{number:08d}_cam.txt", image)),
            camera_size=TRAIN,
            depth=require_file(depths / f"depth_map_{number:04d}.pfm", image),
            depth_corner=None if depths is small else TRAIN_CORNER,
            mask=require_file(depths / f"depth_visual_{number:04d}.png", image),
            mask_above=VISUAL,
        )
        for number, image in _rectified(root / f"Rectified/scan{scan}_train", light).items()
    }


def _train_camera(path: Path) -> Camera:
    """The camera of a training image: half a photograph, cropped.

    The file has the camera of a quarter of it. Halving and quartering moved no pixel centers as
    they should have, so it is scaled back to the whole photograph and taken from there.
    """
    found = read_cam_txt(path, two_numbers="min_interval").camera
    row, column = TRAIN_CORNER
    intrinsics = np.diag([8.0, 8.0, 1.0]) @ (found.intrinsics - HALF)
    intrinsics[:2, 2] += [2 * column + 0.5, 2 * row + 0.5]
    intrinsics = np.diag([0.5, 0.5, 1.0]) @ intrinsics
    intrinsics[:2, 2] -= [column, row]
    return replace(found, intrinsics=intrinsics)


def _official(root: Path, scan: int, light: int) -> dict[int, Frame]:
    raw = _raw_depths(root, scan)

    def truth(name: str) -> Path | None:
        return None if raw is None or not (raw / name).is_file() else raw / name

    return {
        number: Frame(
            name=image.stem,
            image=image,
            camera=require_file(root / f"Cameras/{number:08d}_cam.txt", image),
            camera_size=FULL,
            depth=truth(f"depth_map_{number:04d}.pfm"),
            mask=truth(f"depth_visual_{number:04d}.png"),
            mask_above=VISUAL,
        )
        for number, image in _rectified(root / f"Rectified/scan{scan}", light).items()
    }


def _sample_set(root: Path, scan: int, light: int) -> dict[int, Frame]:
    cameras = root / "Calibration/cal18"
    return {
        number: Frame(
            name=image.stem,
            image=image,
            camera=read_projection(require_file(cameras / f"pos_{number + 1:03d}.txt", image)),
            camera_size=FULL,
        )
        for number, image in _rectified(root / f"Rectified/scan{scan}", light).items()
    }


def _raw_depths(root: Path, scan: int) -> Path | None:
    folders = (root / name / f"scan{scan}" for name in RAW_DEPTHS)
    return next((folder for folder in folders if folder.is_dir()), None)


def _first_file(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


LAYOUTS: dict[Layout, Callable[[Path, int, int], dict[int, Frame]]] = dict(
    zip(
        get_args(Layout),
        (_dtu64, _idr, _mvsnet_test, _mvsnet_train, _official, _sample_set),
        strict=True,
    )
)


def _rectified(folder: Path, light: int) -> dict[int, Path]:
    """Images of one light by their number from 0; their names count from 1."""
    pattern = re.compile(rf"rect_(\d+)_{light}_r\d+\.png")
    found = {
        int(match[1]) - 1: path
        for path in sorted(folder.iterdir())
        if (match := pattern.fullmatch(path.name))
    }
    if not found:
        raise FileNotFoundError(f"{folder}: has no rect_001_{light}_r5000.png of light {light}")
    return found
