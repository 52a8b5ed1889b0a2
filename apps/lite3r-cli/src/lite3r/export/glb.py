"""Points and cameras as one binary glTF 2.0 file, which any 3-D viewer opens.

glTF has x right, y up, and cameras that look along -z, so the world and every camera
turn by 180 degrees about x (`FLIP`).
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from .. import atomic
from .reconstruction import PointCloud, View

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
FLOAT, UNSIGNED_BYTE = 5126, 5121
POINTS, LINES = 0, 1


class _Buffer:
    """Arrays laid one after the other, each with its glTF view and accessor."""

    def __init__(self) -> None:
        self.blocks: list[np.ndarray] = []
        self.views: list[dict[str, object]] = []
        self.accessors: list[dict[str, object]] = []
        self.length = 0

    def add(self, array: np.ndarray, **accessor: object) -> int:
        """Append an array and return the number of its accessor."""
        self.views.append({"buffer": 0, "byteOffset": self.length, "byteLength": array.nbytes})
        kind = {"f": FLOAT, "u": UNSIGNED_BYTE}[array.dtype.kind]
        self.accessors.append(
            {"bufferView": len(self.views) - 1, "componentType": kind, "count": len(array)}
            | {"type": f"VEC{array.shape[1]}"}
            | accessor
        )
        self.blocks.append(np.ascontiguousarray(array))
        self.length += array.nbytes + -array.nbytes % 4
        return len(self.accessors) - 1

    def positions(self, xyz: np.ndarray) -> int:
        """Append positions, with the bounds that glTF wants for them."""
        xyz = np.ascontiguousarray(xyz, dtype="<f4")
        return self.add(xyz, min=xyz.min(axis=0).tolist(), max=xyz.max(axis=0).tolist())


def write_glb(path: Path, cloud: PointCloud, views: Sequence[View]) -> None:
    """Write the points, a perspective camera for each view, and its frustum as lines.

    Raises ValueError for an empty cloud: glTF has no empty meshes.
    """
    if not len(cloud):
        raise ValueError("the point cloud is empty, so there is nothing to write to a GLB file")
    buffer = _Buffer()
    size = float(np.median(np.abs(cloud.xyz - np.median(cloud.xyz, axis=0)))) * 0.25 or 1.0
    meshes = [_point_mesh(buffer, cloud), *(_frustum_mesh(buffer, v, size) for v in views)]
    nodes: list[dict[str, object]] = [{"name": "points", "mesh": 0}]
    for number, view in enumerate(views):
        matrix = (FLIP @ view.camera_to_world @ FLIP).T.ravel().tolist()  # glTF is column-major
        nodes.append({"name": view.name, "camera": number, "mesh": number + 1, "matrix": matrix})
    document = {
        "asset": {"version": "2.0", "generator": "lite3r"},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(nodes)))}],
        "nodes": nodes,
        "meshes": meshes,
        "cameras": [_camera(view) for view in views],
        "materials": [{"extensions": {"KHR_materials_unlit": {}}}],
        "extensionsUsed": ["KHR_materials_unlit"],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": buffer.length}],
    }
    _write(path, document, buffer)


def _point_mesh(buffer: _Buffer, cloud: PointCloud) -> dict[str, object]:
    alpha = np.full((len(cloud), 1), 255, dtype=np.uint8)
    attributes = {
        "POSITION": buffer.positions(cloud.xyz @ FLIP[:3, :3].astype(np.float32)),
        "COLOR_0": buffer.add(np.concatenate([cloud.rgb, alpha], axis=1), normalized=True),
    }
    return {"primitives": [{"attributes": attributes, "mode": POINTS, "material": 0}]}


def _frustum_mesh(buffer: _Buffer, view: View, depth: float) -> dict[str, object]:
    lines = _frustum(view, depth) @ FLIP[:3, :3]
    color = np.tile(np.array([[226, 88, 34, 255]], dtype=np.uint8), (len(lines), 1))
    attributes = {
        "POSITION": buffer.positions(lines),
        "COLOR_0": buffer.add(color, normalized=True),
    }
    return {"primitives": [{"attributes": attributes, "mode": LINES, "material": 0}]}


def _frustum(view: View, depth: float) -> Float[np.ndarray, "16 3"]:
    """The eight edges of a camera's pyramid as point pairs, in the camera's frame."""
    height, width = view.depth.shape
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], float)
    corners = corners @ np.linalg.inv(view.intrinsics).T * depth
    edges = [
        p for i in range(4) for p in (np.zeros(3), corners[i], corners[i], corners[(i + 1) % 4])
    ]
    return np.stack(edges)


def _camera(view: View) -> dict[str, object]:
    height, width = view.depth.shape
    yfov = 2 * np.arctan(height / 2 / view.intrinsics[1, 1])
    perspective = {"yfov": float(yfov), "aspectRatio": width / height, "znear": 1e-3}
    return {"type": "perspective", "name": view.name, "perspective": perspective}


def _write(path: Path, document: dict[str, object], buffer: _Buffer) -> None:
    text = json.dumps(document, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 4)
    with atomic.new_file(path) as partial, partial.open("wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + buffer.length))
        file.write(struct.pack("<I4s", len(text), b"JSON") + text)
        file.write(struct.pack("<I4s", buffer.length, b"BIN\0"))
        for block in buffer.blocks:
            file.write(block.data)
            file.write(b"\0" * (-block.nbytes % 4))
