"""Finding the reference of a scan in the directory layouts that are in use."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from recon_eval.dtu.observation import Observation, read_observation
from recon_eval.formats.files import require_folder
from recon_eval.formats.ply import read_ply

# where Points/ and ObsMask/ are, below what people call the root
ROOTS = (".", "SampleSet/MVS Data", "MVS Data", "SampleSet/mvs_data", "mvs_data", "SampleSet")


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The reference of one scan: scanned points (mm) and where they can be compared."""

    scan: int
    points: Float64[np.ndarray, "p 3"]
    observation: Observation


def find_truth(root: str | Path, scan: int) -> Truth:
    """Read the reference of a scan; points and masks may lie in different parts of the tree.

    Looks for `Points/stl/stl001_total.ply`, `ObsMask/ObsMask1_10.mat` and `ObsMask/Plane1.mat`
    under the root itself and under `SampleSet`, `MVS Data` and `mvs_data`.
    """
    root = require_folder(root, "the folder of DTU's Points and ObsMask")
    points = _find(root, f"Points/stl/stl{scan:03d}_total.ply")
    mask = _find(root, f"ObsMask/ObsMask{scan}_10.mat")
    plane = _find(root, f"ObsMask/Plane{scan}.mat")
    return Truth(
        scan=scan,
        points=read_ply(points).points.astype(np.float64),
        observation=read_observation(mask, plane),
    )


def _find(root: Path, name: str) -> Path:
    for part in ROOTS:
        if (root / part / name).is_file():
            return root / part / name
    places = ", ".join(ROOTS[1:])
    raise FileNotFoundError(f"{root / name}: does not exist, and neither does it under {places}")
