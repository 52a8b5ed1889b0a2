"""DTU's photographs and cameras in the layouts that are in use; lengths in millimetres.

    dtu64         Cameras/00000000_cam.txt, scan1/image/000000.png [, scan1/mask/000.png]
    idr           scan1/image/000000.png, scan1/mask/000.png, scan1/cameras.npz
    mvsnet_test   scan1/images/00000000.jpg, scan1/cams/00000000_cam.txt [, depths, binary_masks]
    mvsnet_train  Rectified/scan1_train/rect_001_3_r5000.png, Cameras/train/00000000_cam.txt,
                  Depths/scan1_train/depth_map_0000.pfm and depth_visual_0000.png
    official      Rectified/scan1/rect_001_3_r5000.png, Cameras/00000000_cam.txt

Images of the last two count from 1, cameras from 0. `Cameras` speaks of 1600 x 1200 pixels and
`Cameras/train` of 160 x 128, whatever size the images have.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from .cam_txt import TwoNumbers, check_camera
from .dtu_scans import scan_numbers
from .files import read_arrays, require_folder
from .frames import Frame, Pinhole, load_frames
from .images import SUFFIXES
from .mvsnet import by_number, choose, mvsnet_frames, require_file
from .scene import Scene

Layout = Literal["dtu64", "idr", "mvsnet_test", "mvsnet_train", "official"]
FULL = (1200, 1600)
TRAIN = (128, 160)
LIGHT = 3  # the one that evaluation uses: all lamps on


class DTU:
    """Scans of DTU: `dataset[i]` is a `Scene` of the chosen views of one scan.

    `scans` are numbers or the name of a list in `recon_eval.dtu.SCANS`. The layout is recognised
    scan by scan unless it is given. `views` are frame numbers counted from 0, or how many to take
    evenly, or None for all; scans have 49 or 64.
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
        two_numbers: TwoNumbers = "auto",
    ) -> None:
        if layout is not None and layout not in LAYOUTS:
            raise ValueError(f"layout is {layout!r}: it must be one of {', '.join(LAYOUTS)}")
        self.root = require_folder(root, "the folder of DTU")
        self.scans = scan_numbers(scans)
        self.views, self.first, self.size = views, first, size
        self.light, self.two_numbers = light, two_numbers
        if not self.scans:
            raise ValueError("scans: is empty")
        self.layouts = {scan: layout or find_layout(self.root, scan) for scan in self.scans}

    def __len__(self) -> int:
        return len(self.scans)

    def frames(self, index: int) -> list[Frame]:
        """Return the files of item `index`."""
        scan = self.scans[index]
        found = LAYOUTS[self.layouts[scan]](self.root, scan, self.light)
        chosen = choose(found, self.views, f"{self.root} scan {scan}")
        if self.first in found and (reference := found[self.first]) in chosen:
            chosen.remove(reference)
            chosen.insert(0, reference)
        return chosen

    def __getitem__(self, index: int) -> Scene:
        name, frames = f"scan{self.scans[index]}", self.frames(index)
        return load_frames(name, frames, size=self.size, two_numbers=self.two_numbers)


def find_layout(root: Path, scan: int) -> Layout:
    """Return the layout in which a scan lies under `root`; FileNotFoundError where in none."""
    marks: dict[Layout, tuple[str, ...]] = {
        "idr": (f"scan{scan}/image", f"scan{scan}/cameras.npz"),
        "dtu64": (f"scan{scan}/image", "Cameras"),
        "mvsnet_test": (f"scan{scan}/images", f"scan{scan}/cams"),
        "mvsnet_train": (f"Rectified/scan{scan}_train", "Cameras/train"),
        "official": (f"Rectified/scan{scan}", "Cameras"),
    }
    for layout, paths in marks.items():
        if all((root / path).exists() for path in paths):
            return layout
    known = "; ".join(f"{layout}: {', '.join(paths)}" for layout, paths in marks.items())
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
    cameras = read_idr_cameras(folder / "cameras.npz")
    images = by_number(folder / "image", SUFFIXES)
    if set(images) - set(cameras):
        missing = sorted(set(images) - set(cameras))
        raise ValueError(f"{folder}/cameras.npz: has no world_mat of the images {missing}")
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
    depths = root / f"Depths/scan{scan}_train"
    return {
        number: Frame(
            name=image.stem,
            image=image,
            camera=require_file(root / f"Cameras/train/{number:08d}_cam.txt", image),
            camera_size=TRAIN,
            depth=require_file(depths / f"depth_map_{number:04d}.pfm", image),
            mask=require_file(depths / f"depth_visual_{number:04d}.png", image),
        )
        for number, image in _rectified(root / f"Rectified/scan{scan}_train", light).items()
    }


def _official(root: Path, scan: int, light: int) -> dict[int, Frame]:
    return {
        number: Frame(
            name=image.stem,
            image=image,
            camera=require_file(root / f"Cameras/{number:08d}_cam.txt", image),
            camera_size=FULL,
        )
        for number, image in _rectified(root / f"Rectified/scan{scan}", light).items()
    }


LAYOUTS: dict[Layout, Callable[[Path, int, int], dict[int, Frame]]] = dict(
    zip(get_args(Layout), (_dtu64, _idr, _mvsnet_test, _mvsnet_train, _official), strict=True)
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


def read_idr_cameras(path: Path) -> dict[int, Pinhole]:
    """Read `cameras.npz` of IDR and NeuS: world_mat_i = K [R | t], in DTU's millimetres.

    `scale_mat_i`, which maps the unit sphere to the object, is not applied.
    """
    matrices = {
        int(number): values.astype(np.float64)
        for name, values in read_arrays(path).items()
        if name.startswith("world_mat_") and (number := name[10:]).isdecimal()
    }
    if not matrices or any(not _is_invertible(matrix) for matrix in matrices.values()):
        raise ValueError(f"{path}: must hold world_mat_0, world_mat_1, ... of 4 x 4 finite numbers")
    return {number: _decompose(matrix, path) for number, matrix in matrices.items()}


def _is_invertible(matrix: np.ndarray) -> bool:
    return matrix.shape == (4, 4) and bool(
        np.isfinite(matrix).all() and np.linalg.matrix_rank(matrix[:3, :3]) == 3
    )


def _decompose(matrix: np.ndarray, path: Path) -> Pinhole:
    """Split K [R | t] by an RQ decomposition with a positive diagonal."""
    flip = np.eye(3)[::-1]
    orthogonal, upper = np.linalg.qr((flip @ matrix[:3, :3]).T)
    intrinsics, rotation = flip @ upper.T @ flip, flip @ orthogonal.T
    signs = np.diag(np.sign(np.diag(intrinsics)))
    intrinsics, rotation = intrinsics @ signs, signs @ rotation
    if np.linalg.det(rotation) < 0:  # the matrix is defined up to its sign
        rotation, matrix = -rotation, -matrix
    extrinsic = np.eye(4)
    extrinsic[:3, :3] = rotation
    extrinsic[:3, 3] = np.linalg.solve(intrinsics, matrix[:3, 3])
    intrinsics = intrinsics / intrinsics[2, 2]
    check_camera(extrinsic, intrinsics, str(path))
    intrinsics[:2, 2] += 0.5  # the file puts pixel centres at whole numbers
    return Pinhole(world_to_camera=extrinsic[:3], intrinsics=intrinsics)
