"""Binary glTF 2.0: points with colors, and cameras, which any 3-D viewer opens.

glTF has x right, y up, and cameras that look along -z, so the world and every camera turn by 180
degrees about x (`FLIP`). Its colors are linear light, and those of photos are sRGB.

Source: Khronos, "glTF 2.0 specification", sections 3.9.2 and 4 (GLB).
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8, UInt16

from recon_eval.formats.files import new_file, parse_json, read_bounded
from recon_eval.formats.records import Camera, PointCloud

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
MAX_BYTES = 4 << 30
MAX_STRIDE = 252  # of glTF
POINTS, LINES = 0, 1  # modes of a primitive
MODES_OF_LINES = (1, 2, 3)
KINDS = {5121: "u1", 5123: "<u2", 5126: "<f4"}
NUMBERS = {"u1": 5121, "u2": 5123, "f4": 5126}
FRUSTUM = (226, 88, 34)  # sRGB
ORIGIN = "lite3r:origin"  # in OpenCV's axes


class _Malformed(Exception):
    """What is wrong with a scene; `read_glb` says in which file."""


def read_glb(path: str | Path) -> PointCloud:
    """Return the vertices of a file, those of lines left out, in OpenCV's axes, as `write_glb` has.

    Node transforms are not applied, but for the origin that `write_glb` puts down. Colors are there
    where every part has them. Raises ValueError where the file is malformed or has no positions.
    """
    path = Path(path)
    chunks = _chunks(read_bounded(path, MAX_BYTES), path)
    if b"JSON" not in chunks or b"BIN\0" not in chunks:
        raise ValueError(
            f"{path}: has the chunks {sorted(chunks)}; it needs JSON and BIN: export it again"
        )
    scene = parse_json(chunks[b"JSON"], path)
    try:
        parts = [
            _cloud(scene, primitive["attributes"], chunks[b"BIN\0"], mesh.get("extras"))
            for mesh in scene["meshes"]
            for primitive in mesh["primitives"]
            if primitive.get("mode", 4) not in MODES_OF_LINES
        ]
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path}: its scene is malformed; {error!r}: export it again") from None
    except _Malformed as error:
        raise ValueError(f"{path}: its scene is malformed; {error}: export it again") from None
    if not parts:
        raise ValueError(
            f"{path}: has no primitive with positions; a scene of points has: export it again"
        )
    return PointCloud.concatenate(parts)


def write_glb(path: str | Path, cloud: PointCloud, cameras: Sequence[Camera] = ()) -> None:
    """Write the points, a perspective camera for each of `cameras`, and its frustum as lines.

    glTF holds float32. Points of float64 are written from their middle, where their node stands.
    Raises ValueError for an empty cloud (glTF has no empty meshes), for a point that is not finite,
    and for a camera without a size.
    """
    _check(Path(path), cloud)
    buffer = _Buffer()
    middle = np.median(cloud.points, axis=0)
    size = float(np.median(np.abs(cloud.points - middle))) * 0.25 or 1.0
    origin = np.zeros(3) if cloud.points.dtype.itemsize <= 4 else middle
    frustums = [_frustum_mesh(buffer, c, size) for c in cameras]
    nodes: list[dict[str, object]] = [{"name": "points", "mesh": 0}]
    if origin.any():
        nodes[0]["translation"] = (origin @ FLIP[:3, :3]).tolist()
    for number, camera in enumerate(cameras):
        matrix = (FLIP @ camera.camera_to_world @ FLIP).T.ravel().tolist()  # column-major
        nodes.append({"name": camera.name, "camera": number, "mesh": number + 1, "matrix": matrix})
    document: dict[str, object] = {
        "asset": {"version": "2.0", "generator": "lite3r"},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(nodes)))}],
        "nodes": nodes,
        "meshes": [_point_mesh(buffer, cloud, origin), *frustums],
        "materials": [{"extensions": {"KHR_materials_unlit": {}}}],
        "extensionsUsed": ["KHR_materials_unlit"],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": buffer.length}],
    }
    if cameras:
        document["cameras"] = [_camera(camera, size) for camera in cameras]
    _write(Path(path), document, buffer)


def _check(path: Path, cloud: PointCloud) -> None:
    """Raise ValueError for points that glTF cannot hold."""
    if not len(cloud):
        raise ValueError(
            f"{path}: the point cloud is empty; glTF has no empty meshes: give at least one point"
        )
    lost = int((~np.isfinite(cloud.points).all(axis=1)).sum())
    if lost:
        raise ValueError(
            f"{path}: {lost} of {len(cloud)} points hold NaN or infinity; glTF has neither: leave "
            "them out"
        )


def linear_of(rgb: UInt8[np.ndarray, "p 3"]) -> UInt16[np.ndarray, "p 3"]:
    """Return sRGB bytes as linear light of 16 bits, in which no two bytes become one."""
    return _LINEAR[rgb]


def srgb_of(linear: Float[np.ndarray, "p 3"]) -> UInt8[np.ndarray, "p 3"]:
    """Return linear light in [0, 1] as sRGB bytes (IEC 61966-2-1)."""
    light = np.clip(linear, 0, 1)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (curve * 255).round().astype(np.uint8)


def _table() -> UInt16[np.ndarray, " 256"]:
    value = np.arange(256) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return (light * 65535).round().astype(np.uint16)


_LINEAR = _table()


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
        kind = NUMBERS[array.dtype.str[1:]]
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

    def colors(self, rgb: UInt8[np.ndarray, "p 3"]) -> int:
        """Append opaque colors, in linear light; four numbers, since rows are whole words."""
        opaque = np.full((len(rgb), 1), 65535, dtype=np.uint16)
        return self.add(np.concatenate([linear_of(rgb), opaque], axis=1), normalized=True)


def _point_mesh(
    buffer: _Buffer, cloud: PointCloud, origin: Float[np.ndarray, "3"]
) -> dict[str, object]:
    """Points from `origin` on, which readers without nodes find beside them."""
    attributes = {"POSITION": buffer.positions((cloud.points - origin) @ FLIP[:3, :3])}
    if cloud.colors is not None:
        attributes["COLOR_0"] = buffer.colors(cloud.colors)
    mesh: dict[str, object] = {
        "primitives": [{"attributes": attributes, "mode": POINTS, "material": 0}]
    }
    return mesh | ({"extras": {ORIGIN: origin.tolist()}} if origin.any() else {})


def _frustum_mesh(buffer: _Buffer, camera: Camera, depth: float) -> dict[str, object]:
    lines = _frustum(camera, depth) @ FLIP[:3, :3]
    color = np.tile(np.array([FRUSTUM], dtype=np.uint8), (len(lines), 1))
    attributes = {"POSITION": buffer.positions(lines), "COLOR_0": buffer.colors(color)}
    return {"primitives": [{"attributes": attributes, "mode": LINES, "material": 0}]}


def _frustum(camera: Camera, depth: float) -> Float[np.ndarray, "16 3"]:
    """The eight edges of a camera's pyramid as point pairs, in the camera's frame."""
    width, height = _size(camera)
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], float)
    corners = corners @ np.linalg.inv(camera.intrinsics).T * depth
    edges = [
        p for i in range(4) for p in (np.zeros(3), corners[i], corners[i], corners[(i + 1) % 4])
    ]
    return np.stack(edges)


def _camera(camera: Camera, size: float) -> dict[str, object]:
    width, height = _size(camera)
    fx, fy = camera.intrinsics[0, 0], camera.intrinsics[1, 1]
    aspect = (width / fx) / (height / fy)  # of the view's width to its height, not of pixels
    yfov = 2 * np.arctan(height / 2 / fy)
    perspective = {"yfov": float(yfov), "aspectRatio": float(aspect), "znear": size * 1e-3}
    return {"type": "perspective", "name": camera.name, "perspective": perspective}


def _size(camera: Camera) -> tuple[int, int]:
    if camera.size is None:
        raise ValueError(
            f"{camera.name}: size=None; a glTF camera needs the width and height: give the "
            "size of the photo"
        )
    return camera.size


def _write(path: Path, document: dict[str, object], buffer: _Buffer) -> None:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    with new_file(path) as partial, partial.open("wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + buffer.length))
        file.write(struct.pack("<I4s", len(text), b"JSON") + text)
        file.write(struct.pack("<I4s", buffer.length, b"BIN\0"))
        for block in buffer.blocks:
            file.write(block.data)
            file.write(b"\0" * (-block.nbytes % 4))


def _chunks(raw: bytes, path: Path) -> dict[bytes, bytes]:
    if len(raw) < 12 or raw[:8] != b"glTF\x02\0\0\0":
        raise ValueError(
            f"{path}: begins with {raw[:8]!r}; a GLB begins with glTF and version 2: export it "
            "again"
        )
    found: dict[bytes, bytes] = {}
    position = 12
    while position + 8 <= len(raw):
        size, kind = struct.unpack_from("<I4s", raw, position)
        content = raw[position + 8 : position + 8 + size]
        if len(content) < size:
            raise ValueError(
                f"{path}: the chunk {kind!r} is cut off; {len(content)} of {size} bytes "
                "are there: copy it again"
            )
        found.setdefault(kind, content)
        position += 8 + size
    return found


def _cloud(
    scene: dict[str, Any], attributes: dict[str, int], binary: bytes, extras: object
) -> PointCloud:
    positions = _rows(scene, attributes["POSITION"], binary, kinds=(5126,), types=("VEC3",))
    colors = None
    if "COLOR_0" in attributes:
        stored = _rows(
            scene, attributes["COLOR_0"], binary, kinds=tuple(KINDS), types=("VEC3", "VEC4")
        )
        most = 1.0 if stored.dtype.kind == "f" else float(np.iinfo(stored.dtype).max)
        colors = srgb_of(np.nan_to_num(stored[:, :3].astype(np.float64) / most))
    points = positions @ FLIP[:3, :3].astype(np.float32)
    if isinstance(extras, dict) and ORIGIN in extras:
        points = points + np.array(extras[ORIGIN], np.float64).reshape(3)
    return PointCloud(points=points, colors=colors)


def _rows(
    scene: dict[str, Any],
    index: int,
    binary: bytes,
    *,
    kinds: tuple[int, ...],
    types: tuple[str, ...],
) -> np.ndarray:
    """The rows of an accessor; it is checked against the bytes before memory is taken."""
    accessor = scene["accessors"][index]
    if accessor["componentType"] not in kinds or accessor["type"] not in types:
        raise _Malformed(
            f"an accessor holds {accessor['type']} of {accessor['componentType']}, and "
            "positions are vectors of three float32, colors of three or four numbers"
        )
    cell = np.dtype((KINDS[accessor["componentType"]], (int(accessor["type"][3]),)))
    view = scene["bufferViews"][accessor["bufferView"]]
    if view.get("buffer", 0) or "sparse" in accessor:
        raise _Malformed("an accessor is sparse or of another file, and neither is read")
    stride = int(view.get("byteStride", cell.itemsize))
    start = int(view.get("byteOffset", 0)) + int(accessor.get("byteOffset", 0))
    count = int(accessor["count"])
    fits = start >= 0 and start + (count - 1) * stride + cell.itemsize <= len(binary)
    if count < 1 or not cell.itemsize <= stride <= MAX_STRIDE or not fits:
        raise _Malformed(
            f"{count} rows, {stride} bytes apart from byte {start} on, in {len(binary)} bytes, "
            f"where they must fit, {cell.itemsize} to {MAX_STRIDE} bytes apart"
        )
    layout = np.dtype({"names": ["p"], "formats": [cell], "offsets": [0], "itemsize": stride})
    padded = binary[start : start + count * stride].ljust(count * stride, b"\0")
    return np.frombuffer(padded, dtype=layout, count=count)["p"].copy()
