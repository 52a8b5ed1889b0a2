"""Camera files of MVSNet and its descendants, and the pair.txt beside them.

    extrinsic            4 x 4, world to camera
    intrinsic            3 x 3, in pixels, pixel centers at whole numbers
    DEPTH_MIN ...        nothing, or two, three or four numbers

The tail has dialects. Four numbers: min, interval, planes, max (BlendedMVS). Three: min, interval,
planes. Two are ambiguous: min and interval (MVSNet, CasMVSNet) or min and max (PatchmatchNet and
many exports). A second number above the first is then read as max, which an interval never is in
practice, with a warning.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64

from recon_eval.formats.files import new_file, numbers, read_text
from recon_eval.formats.records import Camera, check_camera

Tail = Literal["none", "min_interval", "min_max", "min_interval_planes", "min_interval_planes_max"]
TwoNumbers = Literal["auto", "min_interval", "min_max"]
DEFAULT_PLANES = 192
HALF = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])  # of a pixel, to its corner


@dataclass(frozen=True, kw_only=True)
class CameraFile:
    """One cam.txt. `tail` says how the depth range was written and `guessed` whether by heuristic.

    `camera` has pixel centers at + 0.5, half a pixel more than the file, and is named as the file
    is, without `_cam.txt`. `depth_min` and `depth_max` are None where the file has none or states
    "unknown" (0 0, or values that are not 0 < min < max, as BlendedMVS has).
    """

    camera: Camera
    depth_min: float | None
    depth_max: float | None
    tail: Tail
    guessed: bool


def read_cam_txt(
    path: str | Path,
    *,
    two_numbers: TwoNumbers = "auto",
    planes: int = DEFAULT_PLANES,
    interval_scale: float = 1.0,
) -> CameraFile:
    """Read a cam.txt of any dialect.

    `two_numbers` settles what a tail of two numbers means; "auto" guesses, and warns. Where the
    file gives an interval but no maximum, that is min + `interval_scale` interval (planes - 1),
    with `planes` where the file gives no number; MVSNet trains on DTU with a scale of 1.06. Raises
    ValueError where the file is malformed or its extrinsic is no rotation and translation.
    """
    path = Path(path)
    if two_numbers not in get_args(TwoNumbers):
        raise ValueError(
            f"two_numbers={two_numbers!r}; it must be known: pass one of "
            f"{', '.join(get_args(TwoNumbers))}"
        )
    words = read_text(path).split()
    if len(words) < 27 or words[0] != "extrinsic" or words[17] != "intrinsic":
        raise ValueError(
            f"{path}: is no camera file; it is 'extrinsic', 16 numbers, 'intrinsic', 9 "
            "numbers and a tail: mend it"
        )
    extrinsic = np.array(numbers(words[1:17], path, "extrinsic")).reshape(4, 4)
    intrinsics = np.array(numbers(words[18:27], path, "intrinsic")).reshape(3, 3)
    check_camera(extrinsic, intrinsics, str(path))
    depths = numbers(words[27:], path, "depth range")
    guessed = len(depths) == 2 and depths[0] > 0 and two_numbers == "auto"  # 0 0 means nothing
    if guessed:
        two_numbers = "min_max" if depths[1] > depths[0] else "min_interval"
        warnings.warn(
            f"{path}: the depth range {depths} is taken for {two_numbers}; say what it is by "
            "two_numbers",
            stacklevel=2,
        )
    tail, low, high = _read_tail(depths, path, two_numbers, planes, interval_scale)
    known = low is not None and high is not None and 0 < low < high
    return CameraFile(
        camera=Camera(
            name=path.name.removesuffix("_cam.txt"),
            world_to_camera=extrinsic[:3],
            intrinsics=intrinsics + HALF,
        ),
        depth_min=low if known else None,
        depth_max=high if known else None,
        tail=tail,
        guessed=guessed,
    )


def write_cam_txt(
    path: str | Path,
    camera: Camera,
    *,
    depth_range: tuple[float, float] | None = None,
    planes: int | None = None,
) -> None:
    """Write a camera; its intrinsics with pixel centers at whole numbers, as these files have them.

    - `depth_range`: written as DEPTH_MIN and DEPTH_MAX (`two_numbers="min_max"`).
    - `planes`: as many depths in it; then the interval and their number stand between both.

    Raises ValueError for fewer planes than two.
    """
    if planes is not None and planes < 2:
        raise ValueError(f"planes={planes}; it must be at least 2, both ends: leave it out")
    lens = camera.intrinsics - HALF
    extrinsic = np.vstack([camera.world_to_camera, [0, 0, 0, 1]])
    blocks = [f"{name}\n{_rows(m)}" for name, m in (("extrinsic", extrinsic), ("intrinsic", lens))]
    if depth_range is not None:
        low, high = map(float, depth_range)
        between = [] if planes is None else [repr((high - low) / (planes - 1)), str(planes)]
        blocks.append(" ".join([repr(low), *between, repr(high)]))
    with new_file(Path(path)) as partial:
        partial.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def _rows(matrix: Float64[np.ndarray, "r c"]) -> str:
    return "\n".join(" ".join(map(repr, row)) for row in matrix.tolist())


def _read_tail(
    values: list[float], path: Path, two_numbers: TwoNumbers, planes: int, scale: float
) -> tuple[Tail, float | None, float | None]:
    match values:
        case []:
            return "none", None, None
        case [low, high] if two_numbers == "min_max":
            return "min_max", low, high
        case [low, interval]:
            return "min_interval", low, low + scale * interval * (planes - 1)
        case [low, interval, count]:
            return "min_interval_planes", low, low + scale * interval * (count - 1)
        case [low, _, _, high]:
            return "min_interval_planes_max", low, high
    raise ValueError(
        f"{path}: the depth range has {len(values)} numbers; it may have 0, 2, 3 or 4: mend "
        "the line"
    )


def read_pairs(path: str | Path) -> dict[int, list[tuple[int, float]]]:
    """Return, for each view of a pair.txt, its source views and their scores, in its order.

    The view itself and sources scored 0 or less are left out: some writers list them. The number of
    sources differs between views and may be 0.
    """
    path = Path(path)
    values = numbers(read_text(path).split(), path, "the list of pairs")
    position = 1
    pairs: dict[int, list[tuple[int, float]]] = {}
    for _ in range(_count(values, 0, path)):
        view, count = _count(values, position, path), _count(values, position + 1, path)
        sources = values[position + 2 : position + 2 + 2 * count]
        if len(sources) != 2 * count or view in pairs:
            raise ValueError(
                f"{path}: view {view} is listed twice, or its {count} sources are cut off; "
                "each view stands once, whole: copy it again"
            )
        pairs[view] = [
            (_count(values, place, path), values[place + 1])
            for place in range(position + 2, position + 2 + 2 * count, 2)
            if values[place] != view and values[place + 1] > 0
        ]
        position += 2 + 2 * count
    if position != len(values):
        raise ValueError(
            f"{path}: {len(values) - position} numbers follow the last view; none may: correct "
            "its first number"
        )
    return pairs


def _count(values: list[float], position: int, path: Path) -> int:
    value = values[position] if position < len(values) else -1.0
    if value != int(value) or not 0 <= value <= 1_000_000:
        raise ValueError(
            f"{path}: number {position + 1} is none of a view; it must be a whole number of at "
            "least 0: mend it"
        )
    return int(value)
