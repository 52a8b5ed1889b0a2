"""Point clouds in PLY: ASCII and both binary orders, bounded, vertices only.

Source: G. Turk, "The PLY polygon file format", 1994.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from recon_eval.formats.files import new_file
from recon_eval.formats.records import PointCloud

MAX_BYTES = 8 << 30
TEXT_BLOCK = 1 << 20  # bytes of text at once: as words they take thirty times that
MAX_WORD = 64
MAX_HEADER = 1 << 16
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1",
    "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


CHUNK = 1_000_000  # points written at once
_COLUMNS = {
    "points": ("x", "y", "z"),
    "normals": ("nx", "ny", "nz"),
    "colors": ("red", "green", "blue"),
    "confidence": ("confidence",),
}
_FLOAT, _DOUBLE, _BYTE = ("float", "<f4"), ("double", "<f8"), ("uchar", "u1")


def read_ply(path: str | Path) -> PointCloud:
    """Read the vertices of a PLY file; faces and other elements are left out.

    Raises ValueError where the header is wrong, the vertices are not the first element, or fewer
    bytes follow than the header promises.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: does not exist or is no file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path}: has {size} bytes; at most {MAX_BYTES} are read: thin the cloud")
    with path.open("rb") as file:
        order, count, fields, start = _read_header(file.read(MAX_HEADER), path)
        file.seek(start)
        if order == "=":
            table = _read_ascii(file, size - start, count, fields, path)
        else:
            layout = np.dtype([(name, order + kind) for name, kind in fields])
            if size - start < count * layout.itemsize:
                raise ValueError(
                    f"{path}: {size - start} bytes follow the header; {count} vertices of "
                    f"{layout.itemsize} bytes need {count * layout.itemsize}, so it is "
                    "truncated: copy it again"
                )
            table = np.fromfile(file, dtype=layout, count=count)
    return _to_cloud(table, path)


def write_ply(path: str | Path, cloud: PointCloud, *, comment: str = "") -> None:
    """Write a cloud as little-endian vertices: float32 (points of float64: double), color bytes.

    Read by MeshLab, CloudCompare, Open3D, Blender and splat trainers. Points are written in pieces,
    so that the file is never held in memory. `comment` is one line of the header.
    """
    kinds = {"points": _FLOAT if cloud.points.dtype == np.float32 else _DOUBLE, "colors": _BYTE}
    parts = [
        (part, names, *kinds.get(part, _FLOAT))
        for part, names in _COLUMNS.items()
        if getattr(cloud, part) is not None
    ]
    header = ["ply", "format binary_little_endian 1.0"]
    header += [f"comment {' '.join(comment.split())}"] if comment else []
    header.append(f"element vertex {len(cloud)}")
    header += [f"property {word} {name}" for _, names, word, _ in parts for name in names]
    layout = np.dtype([(part, kind, len(names)) for part, names, _, kind in parts])
    with new_file(Path(path)) as partial, partial.open("wb") as file:
        file.write("\n".join([*header, "end_header\n"]).encode())
        for start in range(0, len(cloud), CHUNK):
            piece = cloud.take(slice(start, start + CHUNK))
            vertices = np.empty(len(piece), dtype=layout)
            for part, names, _, _ in parts:
                vertices[part] = getattr(piece, part).reshape(-1, len(names))
            file.write(vertices.tobytes())


def _read_header(raw: bytes, path: Path) -> tuple[str, int, list[tuple[str, str]], int]:
    """Byte order, number of vertices, their fields, and where they start."""
    end = raw.find(b"\nend_header") + 1  # a comment may hold the word
    stop = raw.find(b"\n", end)
    if not raw.startswith((b"ply\n", b"ply\r\n")) or end < 1 or stop < 0:
        raise ValueError(
            f"{path}: is no PLY file; it begins with {raw[:16]!r} or has no end_header: "
            "copy it again"
        )
    order, count, fields, elements = "", -1, [], 0
    for row in raw[:end].split(b"\n")[1:]:  # as bytes: letters of UTF-8 hold the 85 of a new line
        line, words = row.decode("latin-1"), [word.decode("latin-1") for word in row.split()]
        match words:
            case ["format", kind, "1.0"] if kind in _ORDERS:
                order = _ORDERS[kind]
            case ["element", name, number]:
                elements += 1
                if elements == 1:
                    count = _vertex_count(name, number, path)
            case ["property", "list", *_] if elements == 1:
                raise ValueError(
                    f"{path}: a vertex has a list property; no point cloud has one: write it "
                    "without"
                )
            case ["property", kind, name] if elements == 1 and kind in _TYPES:
                fields.append((name, _TYPES[kind]))
            case ["property", *_] if elements > 1:
                pass
            case ["comment" | "obj_info", *_] | []:
                pass
            case _:
                raise ValueError(
                    f"{path}: the header line {line[:60]!r} is not understood; a header has "
                    "elements and properties: remove it"
                )
    names = [name for name, _ in fields]
    if not order or count < 0 or not {"x", "y", "z"} <= set(names) or len(set(names)) < len(names):
        raise ValueError(
            f"{path}: the header has {names[:12]}; it needs a format, vertices and their "
            "properties x, y, z, each once: mend it"
        )
    return order, count, fields, stop + 1


def _vertex_count(name: str, number: str, path: Path) -> int:
    if name != "vertex":
        raise ValueError(
            f"{path}: the first element is {name[:40]!r}; it must be 'vertex': write vertices first"
        )
    if not number.isdecimal() or len(number) > 10:
        raise ValueError(
            f"{path}: the number of vertices is {number[:40]!r}; it must be a whole number: "
            "mend the header"
        )
    return int(number)


def _read_ascii(
    file: BinaryIO, size: int, count: int, fields: list[tuple[str, str]], path: Path
) -> np.ndarray:
    wanted, found = count * len(fields), 0
    values = np.empty(min(wanted, size))  # a number has a byte at least
    for words in _words(file, path):
        part = words[: len(values) - found]
        try:
            values[found : found + len(part)] = np.array(part, dtype="S").astype(np.float64)
        except ValueError as error:
            raise ValueError(
                f"{path}: a vertex holds what is no number; {error}: mend it"
            ) from None
        found += len(part)
        if found == len(values):
            break
    if found < wanted:
        raise ValueError(
            f"{path}: {found} numbers are found; {count} vertices need {wanted}: copy it again"
        )
    rows = values.reshape(count, len(fields))
    table = np.empty(count, dtype=[(name, kind) for name, kind in fields])
    for column, (name, _) in enumerate(fields):
        kind = table[name].dtype
        if kind.kind != "f" and not _fits(rows[:, column], np.iinfo(kind)):
            raise ValueError(
                f"{path}: {name} of a vertex does not fit in {kind}; all must: mend it"
            )
        table[name] = rows[:, column]
    return table


def _fits(values: np.ndarray, kind: np.iinfo) -> bool:
    return bool(((values >= kind.min) & (values <= kind.max)).all())


def _words(file: BinaryIO, path: Path) -> Iterator[list[bytes]]:
    """The words of a text, a block at a time."""
    rest = b""
    while block := file.read(TEXT_BLOCK):
        block = rest + block
        words = block.split()
        rest = b"" if block[-1:].isspace() or not words else words.pop()
        if max(map(len, [rest, *words])) > MAX_WORD:
            raise ValueError(
                f"{path}: holds a word of more than {MAX_WORD} bytes; that is no number: copy "
                "it again"
            )
        yield words
    yield [rest] if rest else []


def _to_cloud(table: np.ndarray, path: Path) -> PointCloud:
    names = table.dtype.names or ()

    def columns(*wanted: str) -> np.ndarray | None:
        if not set(wanted) <= set(names):
            return None
        return np.stack([table[name] for name in wanted], axis=1)

    points, normals = columns("x", "y", "z"), columns("nx", "ny", "nz")
    colors, confidence = columns("red", "green", "blue"), columns("confidence")
    if points is None or any(table[axis].dtype.kind != "f" for axis in "xyz"):
        raise ValueError(
            f"{path}: x, y, z are whole numbers; they must be float or double: write them so"
        )
    return PointCloud(
        points=points.astype(points.dtype.newbyteorder("=")),
        normals=None if normals is None else normals.astype(np.float32),
        colors=colors if colors is not None and colors.dtype == np.uint8 else None,
        confidence=None if confidence is None else confidence[:, 0].astype(np.float32),
    )
