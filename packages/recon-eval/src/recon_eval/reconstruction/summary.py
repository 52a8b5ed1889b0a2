"""report.html of a reconstruction: the scene from above, photos with depth, and the files."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from einops import rearrange, repeat
from jaxtyping import Float, UInt8

from recon_eval.formats.files import write_text
from recon_eval.formats.records import PointCloud
from recon_eval.pages import pictures
from recon_eval.pages.html import document, facts, heading, legend, strip
from recon_eval.reconstruction.page import ranks
from recon_eval.reconstruction.upright import upright
from recon_eval.reconstruction.view import Reconstruction, View

GRAY = "Gray pixels have no point: too little confidence, an edge in depth, or a mask."
SHOWN_VIEWS = 24
SIDE = 560  # pixels of the plan's longer side
SQUARE = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
OPENED_BY = {
    "scene.html": "to turn around",
    "points.ply": "MeshLab, Blender",
    "scene.glb": "glTF viewers",
    "sparse": "COLMAP, splats",
    "transforms.json": "nerfstudio",
    "prediction.npz": "NumPy",
    "depth": "PNG, TIFF",
    "images": "the photos",
    "masks": "what is left out",
}


def write_summary(path: Path, made: Reconstruction) -> None:
    """Write the page; the files that lie beside it then are listed in it."""
    shown = [
        made.views[i]
        for i in np.unique(np.linspace(0, len(made.views) - 1, SHOWN_VIEWS).round().astype(int))
    ]
    width, height = made.views[0].depth.shape[::-1]
    several = "s" * (len(made.views) != 1)
    counted = f"{len(made.views)} photo{several}, {len(made.cloud):,} points"
    pairs = [("depth maps", f"{width} x {height} pixels"), *made.facts]
    notes = [] if dict(made.facts).get("unit") else ["Lengths are in the network's own unit."]
    page = document(
        made.title,
        [
            heading(made.title, counted),
            _plan(made.cloud, made.views),
            _files(path.parent),
            _views(shown, len(made.views)),
            facts("How this was made", pairs, notes),
        ],
    )
    write_text(path, page)


def _plan(cloud: PointCloud, views: Sequence[View]) -> str:
    """The points from above as a picture, the cameras as triangles over it."""
    turn = upright(views)[[0, 2]]  # right and towards the viewer: down the page
    flat = cloud.points @ turn.T
    triangles = [_triangle(view, turn) for view in views]
    ends = np.concatenate(triangles)
    low, high = np.percentile(flat if len(flat) else ends, [1, 99], axis=0)
    low, high = np.minimum(low, ends.min(axis=0)), np.maximum(high, ends.max(axis=0))
    scale = SIDE / float((high - low).max() or 1.0)
    width, height = (int(n) for n in np.maximum(40, np.ceil((high - low) * scale)))
    picture = pictures.data_uri(seen_from_above(cloud, (flat - low) * scale, width, height))
    outlines = "".join(
        f"<polygon points='{' '.join(f'{x:.1f},{y:.1f}' for x, y in (corners - low) * scale)}'>"
        f"<title>{escape(view.name)}</title></polygon>"
        for view, corners in zip(views, triangles, strict=True)
    )
    return (
        "<section><h2>From above</h2><figure class='card plan'>"
        f"<svg viewBox='0 0 {width} {height}' role='img' "
        "aria-label='points and cameras from above'>"
        f"<image href='{picture}' width='{width}' height='{height}'></image>{outlines}</svg>"
        "</figure><p class='note'>Each triangle is a camera; the photos' up is towards you.</p>"
        "</section>"
    )


def _triangle(view: View, turn: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "3 2"]:
    """A camera and its left and right edge of sight, a tenth of its median depth long."""
    known = view.depth[view.known]
    reach = 0.1 * float(np.median(known)) if len(known) else 0.1
    half = view.depth.shape[1] / 2 / view.intrinsics[0, 0]
    corners = np.array([[0, 0, 0], [-half, 0, 1], [half, 0, 1]]) * reach
    pose = view.camera_to_world
    return (corners @ pose[:3, :3].T + pose[:3, 3]) @ turn.T


def seen_from_above(
    cloud: PointCloud, pixels: Float[np.ndarray, "p 2"], width: int, height: int
) -> UInt8[np.ndarray, "y x 4"]:
    """Mean color of the points in each pixel, a point being two pixels wide; opaque where many."""
    corners = np.floor(pixels)[:, None].astype(int) + SQUARE
    cell = rearrange(corners, "p corner xy -> (p corner) xy")
    inside = ((cell >= 0) & (cell < (width, height))).all(axis=1)
    place = cell[inside] @ (1, width)
    count = np.bincount(place, minlength=width * height).astype(float)
    channels = np.zeros((len(place), 3))
    if cloud.colors is not None:
        channels = repeat(cloud.colors, "p c -> (p corner) c", corner=len(SQUARE))[inside]
    sums = [np.bincount(place, weights=c, minlength=width * height) for c in channels.T]
    typical = np.median(count[count > 0]) if len(place) else 1.0
    alpha = 255 * np.clip(count / typical, 0, 1) ** 0.5
    mean = np.stack([*(s / np.maximum(count, 1) for s in sums), alpha], axis=-1)
    picture: UInt8[np.ndarray, "y x 4"] = mean.round().astype(np.uint8).reshape(height, width, 4)
    return picture


def _files(folder: Path) -> str:
    """Links to what lies beside the page, and what opens it."""
    found = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    items = "".join(
        f"<li><a href='{quote(p.name)}'>{escape(p.name)}</a> "
        f"{', '.join(filter(None, (OPENED_BY.get(p.name), _size(p))))}</li>"
        for p in found
    )
    return f"<section><h2>Files</h2><ul class='card files'>{items}</ul></section>" if found else ""


def _size(path: Path) -> str:
    if not path.is_file():
        return ""
    size = path.stat().st_size
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.0f} kB"


def _views(views: Sequence[View], total: int) -> str:
    names = [view.name for view in views]
    near, far = pictures.depth_range(*(view.depth[view.known] for view in views))
    photos = [pictures.data_uri(v.image, kind="jpeg") for v in views]
    depths = [
        pictures.data_uri(pictures.depth_picture(np.where(v.known, v.depth, 0.0), near, far))
        for v in views
    ]
    sure = [pictures.data_uri(pictures.share_picture(_share(v))) for v in views]
    some = f"{len(views)} of {total} photos, evenly spaced" if len(views) < total else "Photos"
    return (
        f"<section><h2>{some}</h2><div class='strips'>{strip('photo', photos, names)}"
        f"{strip('depth', depths, names)}{strip('confidence', sure, names)}</div>"
        + legend(
            (pictures.DEPTH_STOPS, f"depth {near:.2f}", f"{far:.2f} (logarithmic)"),
            (pictures.SHARE_STOPS, "least confident", "most confident pixel of the photo"),
        )
        + f"<p class='note'>{GRAY}</p></section>"
    )


def _share(view: View) -> Float[np.ndarray, "y x"]:
    """Rank of every pixel's confidence in its photo, 0 to 1; unknown depth has none."""
    found = ranks(view.confidence.ravel()).reshape(view.depth.shape) / 255
    return np.where(view.known, found, np.nan)
