"""BlendedMVS (Yao et al., CVPR 2020; CC BY 4.0) in its low-resolution layout.

    PID/blended_images/00000000.jpg
    PID/cams/00000000_cam.txt, pair.txt
    PID/rendered_depth_maps/00000000.pfm

Each scene has its own arbitrary unit, so lengths are divided by the median depth of the scene.
"""

import zlib
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from recon_eval.formats.cam_txt import read_pairs
from recon_eval.formats.depth import read_depth
from recon_eval.formats.files import SEEN, require_folder
from recon_eval.sets.frames import Frame, load_frames
from recon_eval.sets.scene import Scene

Split = Literal["train", "validation", "held_out", "all"]
Unit = Literal["median_depth", "file"]
PARTS = ("blended_images", "cams", "rendered_depth_maps")


def official_scenes(split: Literal["train", "validation"]) -> frozenset[str]:
    """Return the 106 training or the 7 validation scenes that the authors published.

    From github.com/YoYo000/BlendedMVS, `project_lists/BlendedMVS_training.txt` and the rest of
    `BlendedMVS.txt`; the scenes added by BlendedMVG are in neither.
    """
    name = {"train": "blendedmvs_training.txt", "validation": "blendedmvs_validation.txt"}[split]
    return frozenset((files(__package__) / "lists" / name).read_text().split())


class BlendedMVS:
    """Scenes of BlendedMVS: `dataset[i]` is a `Scene` of `views` frames of one scene.

    `split="train"` and "validation" hold the official scenes found under `root`, and nothing else;
    "held_out" every folder of this layout but the official training scenes, so that none of them is
    evaluated by mistake; "all" every folder. `scenes` narrows the choice by name.

    With `views`, frames are chosen by seed, scene and sample number: a reference and the views that
    pair.txt scores highest with those already chosen; without it, all frames are taken in order.
    `size` is the (height, width) to cover and crop to.

    With `unit="median_depth"` depths and camera positions are divided by the median over *all*
    frames of the scene of their median depths: the same number whichever frames are chosen.
    """

    def __init__(
        self,
        root: str | Path,
        split: Split,
        *,
        scenes: Sequence[str] | None = None,
        views: int | None = None,
        samples: int = 1,
        size: tuple[int, int] | None = None,
        unit: Unit = "median_depth",
        seed: int = 0,
    ) -> None:
        if split not in get_args(Split):
            raise ValueError(
                f"split={split!r}; it must be known: pass one of {', '.join(get_args(Split))}"
            )
        if unit not in get_args(Unit):
            raise ValueError(
                f"unit={unit!r}; it must be known: pass one of {', '.join(get_args(Unit))}"
            )
        if samples < 1 or (views is not None and views < 1):
            raise ValueError(
                f"views={views}, samples={samples}; both must be at least 1: leave them out "
                "for the usual ones"
            )
        self.root = require_folder(root, "the folder of BlendedMVS scenes")
        self.split, self.views, self.samples, self.size = split, views, samples, size
        self.unit, self.seed = unit, seed
        self.scenes = [_SceneFolder(path) for path in self._choose(scenes)]

    def __len__(self) -> int:
        return len(self.scenes) * self.samples

    def __getitem__(self, index: int) -> Scene:
        if not 0 <= index < len(self):
            raise IndexError(f"item {index}: this set has items 0 to {len(self) - 1}")
        folder = self.scenes[index // self.samples]
        frames = self.frames(index)
        scale = 1 / folder.median_depth if self.unit == "median_depth" else 1.0
        name = folder.path.name + (f"-{index % self.samples}" if self.samples > 1 else "")
        return load_frames(name, frames, size=self.size, scale=scale)

    def frames(self, index: int) -> list[Frame]:
        """Return the files of item `index`."""
        folder = self.scenes[index // self.samples]
        if self.views is None:
            return list(folder.frames.values())
        key = [self.seed, zlib.crc32(folder.path.name.encode()), index % self.samples]
        return folder.choose(self.views, np.random.default_rng(key))

    def _choose(self, names: Sequence[str] | None) -> list[Path]:
        found = [path for path in sorted(self.root.iterdir()) if (path / "cams").is_dir()]
        if not found:
            raise ValueError(
                f"{self.root}: no folder in it has {', '.join(PARTS)}; a scene has: give "
                "the folder that holds the scenes' folders"
            )
        present = {path.name: path for path in found}
        allowed = self._allowed(set(present))
        for name in names or ():
            if name not in present:
                raise FileNotFoundError(f"{self.root / name}: there is no such scene")
            if name not in allowed:
                raise ValueError(
                    f"{self.root / name}: by the official lists the scene is not in split "
                    f"{self.split!r}; mixing them would evaluate what was trained on: give "
                    "its own split"
                )
        chosen = [
            present[name] for name in sorted(set(names or present) & allowed) if name in present
        ]
        if not chosen and self.split == "held_out":
            raise ValueError(
                f"{self.root}: all are training scenes by the official lists; what is measured "
                "must not be: give a folder with others"
            )
        if not chosen:
            raise ValueError(
                f"{self.root}: holds {len(present)} scenes "
                f"({', '.join(sorted(present)[:3])} ..); none is of split {self.split!r} "
                "by the official lists: give split='held_out' for data of this layout "
                "that is not the official release"
            )
        return chosen

    def _allowed(self, present: set[str]) -> frozenset[str]:
        match self.split:
            case "all":
                return frozenset(present)
            case "held_out":
                return frozenset(present) - official_scenes("train")
            case "train" | "validation":
                return official_scenes(self.split)


class _SceneFolder:
    """The frames of one scene; `empty` names those whose image or depth map has no bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for part in PARTS:
            require_folder(path / part, f"the {part} of a BlendedMVS scene")
        self.frames: dict[int, Frame] = {}
        self.empty: list[str] = []
        for camera in sorted((path / "cams").glob(f"{SEEN}*_cam.txt")):
            stem = camera.name.removesuffix("_cam.txt")
            image = path / "blended_images" / f"{stem}.jpg"
            depth = path / "rendered_depth_maps" / f"{stem}.pfm"
            for file in (image, depth):
                if not file.is_file():
                    raise FileNotFoundError(f"{file}: does not exist, but {camera.name} does")
            if image.stat().st_size == 0 or depth.stat().st_size == 0:
                self.empty.append(stem)  # the release itself has such frames
                continue
            self.frames[_number(stem, camera)] = Frame(
                name=stem, image=image, camera=camera, depth=depth
            )
        if not self.frames:
            raise ValueError(
                f"{path}: has no frame with a camera, an image and a depth map; a scene has: "
                "copy it again"
            )

    @cached_property
    def median_depth(self) -> float:
        """The median over all frames of the median valid depth of each."""
        medians = [
            float(np.median(depth[depth > 0]))
            for frame in self.frames.values()
            if frame.depth is not None and (depth := read_depth(frame.depth)).any()
        ]
        if not medians:
            raise ValueError(
                f"{self.path}: no depth map has a valid pixel; the unit comes from them: copy it "
                "again, or take the scene out"
            )
        return float(np.median(medians))

    @cached_property
    def pairs(self) -> dict[int, dict[int, float]]:
        """The scores of pair.txt between frames that can be read."""
        listed = read_pairs(self.path / "cams" / "pair.txt")
        return {
            view: {other: score for other, score in sources if other in self.frames}
            for view, sources in listed.items()
            if view in self.frames
        }

    def choose(self, views: int, rng: np.random.Generator) -> list[Frame]:
        """Return a random reference and the views that score highest with those chosen so far."""
        start = int(rng.permutation(sorted(self.frames))[0])
        chosen, reach = [start], dict(self.pairs.get(start, {}))
        while len(chosen) < views and reach:
            best = max(reach, key=lambda view: (reach[view], -view))
            chosen.append(best)
            for other, score in self.pairs.get(best, {}).items():
                reach[other] = reach.get(other, 0.0) + score
            reach = {view: score for view, score in reach.items() if view not in chosen}
        if len(chosen) < views:
            raise ValueError(
                f"{self.path}: pair.txt connects {len(chosen)} frames to frame {start}; "
                f"{views} views were asked for: ask for fewer"
            )
        return [self.frames[view] for view in chosen]


def _number(stem: str, path: Path) -> int:
    if not stem.isdecimal():
        raise ValueError(
            f"{path}: is not named by a number; a camera file is, as 00000000_cam.txt: rename it"
        )
    return int(stem)
