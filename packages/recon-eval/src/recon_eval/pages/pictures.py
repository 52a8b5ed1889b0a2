"""Numbers as pictures: depth, error, and the images that a page carries inside itself."""

import base64
import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

# From near to far, and from no error to much: lightness falls evenly, so that gray prints agree.
DEPTH_STOPS = (
    "#fff4d6",
    "#ffd08a",
    "#f79a6b",
    "#d9627c",
    "#9c4a97",
    "#5b4397",
    "#2b3a78",
    "#14243f",
)
ERROR_STOPS = ("#f7f9fa", "#cfe3e6", "#f6d77c", "#ec8a4b", "#c23b4e", "#6b1f4e")
SHARE_STOPS = ("#f3f7f1", "#b9dcb4", "#5fae86", "#227a73", "#0b3f52")
MISSING = (200, 204, 208)


def depth_range(*maps: Float[np.ndarray, "..."]) -> tuple[float, float]:
    """Near and far of depth maps: their 2nd and 98th percentile."""
    values = np.concatenate([m[np.isfinite(m) & (m > 0)] for m in maps])
    if not len(values):
        return 1.0, 2.0
    near, far = np.percentile(values, [2, 98])
    return float(near), float(max(far, near * 1.01))


def depth_picture(
    depth: Float[np.ndarray, "y x"], near: float, far: float
) -> UInt8[np.ndarray, "y x 3"]:
    """Depth in color, logarithmic from `near` (light, warm) to `far` (dark, cold)."""
    known = np.isfinite(depth) & (depth > 0)
    value = np.log(np.where(known, depth, near) / near) / np.log(far / near)
    return _painted(value, known, DEPTH_STOPS)


def error_picture(
    depth: Float[np.ndarray, "y x"], truth: Float[np.ndarray, "y x"], *, worst: float = 0.5
) -> UInt8[np.ndarray, "y x 3"]:
    """|depth - truth| / truth in color, from 0 (light) to `worst` and above (dark)."""
    known = np.isfinite(truth) & (truth > 0) & np.isfinite(depth)
    safe = np.where(known, truth, 1.0)
    return _painted(np.abs(np.where(known, depth, 1.0) - safe) / safe / worst, known, ERROR_STOPS)


def share_picture(share: Float[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x 3"]:
    """A share in color, from 0 (light) to 1 (dark)."""
    return _painted(share, np.isfinite(share), SHARE_STOPS)


def data_uri(picture: UInt8[np.ndarray, "y x channels"], *, kind: str = "png") -> str:
    """A picture as the text of an `img` element's `src`. kind: "png" or "jpeg"."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format=kind, quality=88, optimize=kind == "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def css_gradient(stops: tuple[str, ...]) -> str:
    """The same colors as a CSS gradient, for a legend."""
    return f"linear-gradient(90deg, {', '.join(stops)})"


def _painted(
    value: Float[np.ndarray, "y x"], known: np.ndarray, stops: tuple[str, ...]
) -> UInt8[np.ndarray, "y x 3"]:
    colors = np.array([[int(s[i : i + 2], 16) for i in (1, 3, 5)] for s in stops], dtype=float)
    position = np.clip(value, 0, 1) * (len(stops) - 1)
    picture = np.stack(
        [np.interp(position, range(len(stops)), colors[:, c]) for c in range(3)], axis=-1
    )
    picture[~known] = MISSING
    painted: UInt8[np.ndarray, "y x 3"] = picture.round().astype(np.uint8)
    return painted
