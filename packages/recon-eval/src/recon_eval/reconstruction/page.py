"""A reconstruction as one HTML file: opens without a server and asks the network for nothing.

Places are 16-bit fractions of the cloud's box, colors 8-bit, confidence its rank in 8 bits;
photos are small JPEGs. The page draws with WebGL 2.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from PIL import Image

from recon_eval.formats.files import write_text
from recon_eval.formats.records import PointCloud
from recon_eval.pages.pictures import data_uri
from recon_eval.reconstruction.cloud import thin
from recon_eval.reconstruction.upright import upright
from recon_eval.reconstruction.view import View

PHOTO_SIDE = 192  # pixels of the longer side of an embedded photo


@dataclass(frozen=True, kw_only=True)
class Model:
    """One reconstruction of the page; several, of the same photos, get a switch."""

    label: str
    cloud: PointCloud
    views: Sequence[View]


def write_page(
    path: Path, models: Sequence[Model], *, title: str, max_points: int = 400_000
) -> None:
    """Write the page; each cloud is thinned to `max_points`, which take 13 bytes each.

    Raises ValueError for no model, or one without points or views.
    """
    if not models or any(not len(m.cloud) or not m.views for m in models):
        raise ValueError(
            "reconstructions without points and views; a scene page needs one that has both: "
            "give one"
        )
    to_page = upright(models[0].views)
    clouds = [thin(m.cloud, max_points) for m in models]
    head, blobs = _scene(models, clouds, to_page)
    data = [_script("scene", "application/json", json.dumps(head).replace("</", "<\\/"))]
    data += [_script(name, "text/plain", base64.b64encode(b).decode()) for name, b in blobs]
    page = Template(_resource("page.html")).substitute(
        title=escape(title),
        style=_resource("scene.css"),
        script=_resource("scene.js") + _resource("controls.js"),
        data="\n".join(data),
    )
    write_text(path, page)


def _scene(
    models: Sequence[Model], clouds: Sequence[PointCloud], to_page: np.ndarray
) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    origin = np.median(clouds[0].points, axis=0)  # WebGL counts in float32, from here on
    away = np.linalg.norm(clouds[0].points - origin, axis=1)
    cameras = np.stack([view.camera_to_world[:3, 3] for view in models[0].views])
    farthest = float(np.linalg.norm(cameras - origin, axis=1).max())
    reach = max(float(np.percentile(away, 90)), 0.8 * farthest)
    radius = reach or 1.0
    head: dict[str, Any] = {
        "center": [0.0, 0.0, 0.0],
        "radius": radius,
        "frustum": radius * 0.08,
        "models": [],
    }
    blobs: list[tuple[str, bytes]] = []
    for number, (model, cloud) in enumerate(zip(models, clouds, strict=True)):
        places, low, extent = quantized((cloud.points - origin) @ to_page.T)
        colors = np.full_like(places, 128, np.uint8) if cloud.colors is None else cloud.colors
        sure = np.ones(len(cloud)) if cloud.confidence is None else cloud.confidence
        blobs += [
            (f"places-{number}", places.astype("<u2").tobytes()),
            (f"colors-{number}", np.ascontiguousarray(colors).tobytes()),
            (f"confidence-{number}", ranks(sure).tobytes()),
        ]
        head["models"].append(
            {
                "label": model.label,
                "count": len(cloud),
                "low": low.tolist(),
                "extent": extent.tolist(),
                "spacing": _spacing(model.views, len(cloud)),
                "cameras": [_camera(view, to_page, origin) for view in model.views],
            }
        )
    return head, blobs


def quantized(
    xyz: Float[np.ndarray, "p 3"],
) -> tuple[UInt16[np.ndarray, "p 3"], Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Places as fractions of their box: xyz = low + places / 65535 * extent, within half a step."""
    low = xyz.min(axis=0).astype(np.float64)
    extent = np.maximum(xyz.max(axis=0) - low, 1e-12)
    return ((xyz - low) / extent * 65535).round().astype(np.uint16), low, extent


def ranks(confidence: Float[np.ndarray, " p"]) -> UInt8[np.ndarray, " p"]:
    """Where each confidence stands among all, from 0 (least) to 255; equal ones are equal."""
    _, inverse, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts
    found: UInt8[np.ndarray, " p"] = (below[inverse] * (255 / max(1, len(confidence)))).astype(
        np.uint8
    )
    return found


def _spacing(views: Sequence[View], count: int) -> float:
    """Width that a point must have for the surface to close: a pixel's, more after thinning."""
    pixels = sum(view.depth.size for view in views)
    widths = [np.median(v.depth[v.known]) / v.intrinsics[0, 0] for v in views if v.known.any()]
    return float(np.median(widths)) * float(np.sqrt(max(1.0, pixels / count))) * 1.5


def _camera(view: View, to_page: np.ndarray, origin: np.ndarray) -> dict[str, Any]:
    height, width = view.depth.shape
    pose = view.camera_to_world
    edges = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], float)
    rays = edges @ np.linalg.inv(view.intrinsics).T @ pose[:3, :3].T @ to_page.T
    return {
        "name": view.name,
        "center": (to_page @ (pose[:3, 3] - origin)).tolist(),
        "ahead": (to_page @ pose[:3, 2]).tolist(),
        "corners": rays.tolist(),
        "fov_x": float(2 * np.arctan(width / 2 / view.intrinsics[0, 0])),
        "fov_y": float(2 * np.arctan(height / 2 / view.intrinsics[1, 1])),
        "image": data_uri(_small(view.image), kind="jpeg"),
    }


def _small(image: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "y x 3"]:
    picture = Image.fromarray(image)
    picture.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
    return np.asarray(picture)


def _script(name: str, kind: str, text: str) -> str:
    return f'<script type="{kind}" id="{name}">{text}</script>'


def _resource(name: str) -> str:
    return files("recon_eval.reconstruction").joinpath("viewer", name).read_text(encoding="utf-8")
