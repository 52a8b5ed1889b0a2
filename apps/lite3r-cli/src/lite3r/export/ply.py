"""Point clouds as binary PLY, read by MeshLab, CloudCompare, Open3D, Blender and splat trainers."""

from pathlib import Path

import numpy as np

from .. import atomic
from .reconstruction import PointCloud

VERTEX = np.dtype(
    [("xyz", "<f4", 3), ("rgb", "u1", 3), ("confidence", "<f4")],
)
HEADER = """ply
format binary_little_endian 1.0
comment world frame: x right, y down, z forward of the first camera
element vertex {count}
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
property float confidence
end_header
"""


def write_ply(path: Path, cloud: PointCloud, *, chunk: int = 1_000_000) -> None:
    """Write the points, `chunk` at a time, so that the file is never held in memory."""
    with atomic.new_file(path) as partial, partial.open("wb") as file:
        file.write(HEADER.format(count=len(cloud)).encode("ascii"))
        for start in range(0, len(cloud), chunk):
            part = slice(start, start + chunk)
            vertices = np.empty(len(cloud.xyz[part]), dtype=VERTEX)
            vertices["xyz"] = cloud.xyz[part]
            vertices["rgb"] = cloud.rgb[part]
            vertices["confidence"] = cloud.confidence[part]
            file.write(vertices.tobytes())
