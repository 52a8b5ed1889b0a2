"""7-Scenes: Kinect photographs with depth and tracked cameras.

    SCENE/seq-01/frame-000000.color.png, frame-000000.depth.png, frame-000000.pose.txt
    SCENE/TrainSplit.txt, TestSplit.txt

Source: J. Shotton et al., "Scene coordinate regression forests", CVPR 2013. Depth is in millimeters
in the files, 65535 where unknown, and in meters here; poses are camera to world. Color and depth
are not registered to each other: both are taken as a pinhole of focal length 585 centered at (320,
240), as every evaluation on these scenes does.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from recon_eval.formats.depth import read_depth
from recon_eval.formats.files import numbers, read_text, require_file, require_folder
from recon_eval.formats.images import read_image
from recon_eval.formats.records import check_camera
from recon_eval.sets.resample import resample
from recon_eval.sets.scene import Scene

INTRINSICS = np.array([[585.0, 0, 320], [0, 585, 240], [0, 0, 1]])
SIZE = (480, 640)
UNKNOWN = 65535
SPLITS = {"train": "TrainSplit.txt", "test": "TestSplit.txt"}


class SevenScenes:
    """Sequences of one scene's split; `dataset[i]` is a `Scene` of every `step`-th frame of one."""

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "test"],
        *,
        step: int,
        size: tuple[int, int] | None = None,
    ) -> None:
        if split not in SPLITS or step < 1:
            raise ValueError(
                f"split={split!r}, step={step}; they must be train or test, and at least "
                "1: correct them"
            )
        self.root = require_folder(root, "the folder of one scene of 7-Scenes")
        text = read_text(self.root / SPLITS[split])
        found = [int(number) for number in re.findall(r"sequence\s*(\d+)", text)]
        if not found:
            raise ValueError(
                f"{self.root / SPLITS[split]}: names no sequence; it must name some: copy it again"
            )
        self.sequences = [
            require_folder(self.root / f"seq-{number:02d}", "a sequence") for number in found
        ]
        self.step, self.size = step, size

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> Scene:
        folder = self.sequences[index]
        images = sorted(folder.glob("frame-*.color.png"))[:: self.step]
        if not images:
            raise ValueError(
                f"{folder}: holds no frame-000000.color.png; a sequence begins with it: copy "
                "it again"
            )
        scene = _read(f"{self.root.name}-{folder.name}", images)
        if self.size is None:
            return scene
        return resample(scene, height=self.size[0], width=self.size[1])


def _read(name: str, images: Sequence[Path]) -> Scene:
    depths = np.stack([_read_depth(_sibling(image, "depth.png")) for image in images])
    cameras = np.stack([_read_pose(_sibling(image, "pose.txt")) for image in images])
    depth = torch.from_numpy(depths)
    return Scene(
        name=name,
        images=torch.stack([_read_color(image) for image in images]),
        depth=depth,
        valid=depth > 0,
        world_to_camera=torch.from_numpy(cameras).float(),
        intrinsics=torch.from_numpy(INTRINSICS).float().repeat(len(images), 1, 1),
    )


def _sibling(image: Path, kind: str) -> Path:
    return require_file(image.with_name(image.name.replace("color.png", kind)), image)


def _read_color(path: Path) -> torch.Tensor:
    image = read_image(path)
    if tuple(image.shape[1:]) != SIZE:
        height, width = image.shape[1:]
        raise ValueError(
            f"{path}: is {width} x {height}; photographs here are 640 x 480: copy it again"
        )
    return image


def _read_depth(path: Path) -> np.ndarray:
    depth = read_depth(path, unknown=UNKNOWN)
    if depth.shape != SIZE:
        height, width = depth.shape
        raise ValueError(
            f"{path}: is {width} x {height}; depth maps here are 640 x 480: copy it again"
        )
    return depth / np.float32(1000)  # millimeters


def _read_pose(path: Path) -> np.ndarray:
    values = numbers(read_text(path).split(), path, "the pose")
    if len(values) != 16:
        raise ValueError(f"{path}: has {len(values)} numbers; a pose has 16: copy it again")
    world_to_camera = np.linalg.pinv(np.array(values).reshape(4, 4))
    check_camera(world_to_camera, INTRINSICS, str(path))
    return world_to_camera[:3]
