"""Depth maps as files: float32 in PFM, TIFF and NumPy, 16-bit whole numbers in PNG; 0: no depth."""

from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32
from PIL import Image

from recon_eval.formats.arrays import read_npy
from recon_eval.formats.files import new_file
from recon_eval.formats.images import BROKEN, opened
from recon_eval.formats.pfm import read_pfm, write_pfm
from recon_eval.formats.records import check_shape

LARGEST = 65535  # of 16 bits
QUICK = 4  # zlib's effort of a PNG: 6 takes twice the time for a twentieth of the bytes
ENDINGS = (".pfm", ".npy", ".tiff", ".tif", ".png")


def read_depth(
    path: str | Path, *, unit: float = 1.0, unknown: int = 0
) -> Float32[np.ndarray, "y x"]:
    """Return a depth map with 0 wherever there is no finite depth above 0.

    `unit` is the depth of one step of a PNG, and `unknown` its value for no depth beside 0. Raises
    ValueError where the file is damaged or holds no map of one channel.
    """
    path = Path(path)
    _check(path, unit)
    if path.suffix == ".pfm":
        depth = read_pfm(path)
    elif path.suffix == ".npy":
        depth = read_npy(path)
    else:
        depth = _read_picture(path, unit, unknown)
    if depth.ndim != 2:
        raise ValueError(
            f"{path}: has the shape {depth.shape}; a depth map has rows and columns: save it as y x"
        )
    depth = depth.astype(np.float32)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


def write_depth(path: str | Path, depth: Float[np.ndarray, "y x"], *, unit: float = 1.0) -> None:
    """Write a depth map by the ending of `path`: .pfm, .npy, .tiff or .png.

    `unit` is the depth of one step of a PNG; what is known and less than half a step is one step.
    What is not finite and above 0 becomes 0. Raises ValueError where a PNG's 65535 steps are too
    few.
    """
    path = Path(path)
    _check(path, unit)
    check_shape(depth, "depth", (None, None))
    known = np.isfinite(depth) & (depth > 0)
    values = np.where(known, depth, 0).astype(np.float32)
    if path.suffix == ".pfm":
        write_pfm(path, values)
        return
    coded = BytesIO()  # what codes it tells a full disk in words of its own
    if path.suffix == ".npy":
        np.save(coded, values, allow_pickle=False)
    elif path.suffix == ".png":
        steps = Image.fromarray(_steps(path, values, unit))
        steps.save(coded, format="PNG", compress_level=QUICK)
    else:
        Image.fromarray(values).save(coded, format="TIFF", compression="tiff_adobe_deflate")
    with new_file(path) as partial:
        partial.write_bytes(coded.getbuffer())


def _steps(path: Path, values: Float32[np.ndarray, "y x"], unit: float) -> np.ndarray:
    farthest = float(values.max(initial=0))
    if round(farthest / unit) > LARGEST:
        raise ValueError(
            f"{path}: unit={unit}; the farthest depth, {farthest:.6g}, must be at most {LARGEST} "
            f"units: give at least {farthest / LARGEST:.6g}"
        )
    steps = (values / np.float64(unit)).round()  # in float32, 65535.499 became 65536, and that 0
    return np.maximum(steps, values > 0).astype(np.uint16)


def _read_picture(path: Path, unit: float, unknown: int) -> np.ndarray:
    try:
        with opened(path) as image:
            if image.mode == "F":
                return np.asarray(image)
            if not image.mode.startswith("I"):
                raise OSError(f"{image.mode} is neither of 16 bits nor of floats")
            steps = np.asarray(image)
    except BROKEN as error:
        raise ValueError(f"{path}: is no depth map; {error}: copy it again") from error
    return np.where(steps == unknown, 0, steps).astype(np.float32) * np.float32(unit)


def _check(path: Path, unit: float) -> None:
    if path.suffix not in ENDINGS:
        raise ValueError(
            f"{path}: ends in {path.suffix!r}; a depth map has another ending: choose one of "
            f"{', '.join(ENDINGS)}"
        )
    if not 0 < unit < np.inf:
        raise ValueError(f"unit={unit}; it must be above 0 and finite: leave it out for 1")
