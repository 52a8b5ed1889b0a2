"""The hostile files: each parser meets those of every kind, and lies made for it alone."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hostile.builders import (
    BIG,
    EVIL_NAMES,
    TREE,
    Write,
    archive,
    directory,
    fifo,
    glb,
    linked,
    looped,
    mutations,
    npy,
    picture,
    png,
    raw,
    safetensors,
)
from hostile.readers import BY_NAME, FRAMES, POSE, READERS, SCENE, STUDENT, Reader, views


@dataclass(frozen=True, kw_only=True)
class Case:
    """One hostile file. `refused`: reading it must fail; else it may also be read as it is."""

    reader: Reader
    kind: str
    write: Write
    refused: bool = True

    @property
    def name(self) -> str:
        """Parser and kind."""
        return f"{self.reader.name}: {self.kind}"

    def read(self, folder: Path) -> object:
        """Lay the file and what belongs beside it into `folder`, and read it."""
        self.reader.beside(folder)
        path = folder / self.reader.file
        if path.is_file():
            path.unlink()
        return self.reader.read(self.write(folder))


def cases() -> list[Case]:
    """All of them, in a fixed order."""
    return [*_common(), *_special()]


def _common() -> Iterator[Case]:
    for reader in READERS:
        for kind, write in mutations(reader.file, reader.whole()):
            yield Case(reader=reader, kind=kind, write=write, refused=False)
        if reader.name not in ("journal", "checkpoint"):  # files of a run, which it made itself
            yield Case(reader=reader, kind="a pipe", write=fifo(reader.file))
            yield Case(reader=reader, kind="a folder", write=directory(reader.file))
            yield Case(reader=reader, kind="a link to itself", write=looped(reader.file))
            secret = linked(reader.file, "/etc/passwd")
            yield Case(reader=reader, kind="a link to elsewhere", write=secret, refused=False)


def _special() -> Iterator[Case]:
    for name, kind, content, *rest in _lies():
        reader = BY_NAME[name]
        yield Case(reader=reader, kind=kind, write=raw(reader.file, content), refused=not rest)


def _lies() -> Iterator[tuple]:
    yield from _pictures()
    yield from _arrays()
    yield from _text()
    yield from _scenes()
    yield from _weights()


def _pictures() -> Iterator[tuple]:
    bomb = png(12_000, 12_000, bytes(12_000 * 50))
    for name in ("image", "mask", "depth png"):
        yield name, "a side of 2^31", png(2**31 - 1, 1)
        yield name, "sides of 100,000", png(100_000, 100_000)
        yield name, "no pixel", png(0, 0)
        yield name, "rows that are not there", bomb, "either"
    for name in ("photo", "photos"):
        yield name, "a PNG of 100,000 a side by another name", png(100_000, 100_000)
        yield name, "HTML", b"<html>" + b"x" * 9000
        yield name, "a GIF", b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(40)
        yield name, "PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\n"
        yield name, "an SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>"
        yield name, "EXIF that lies", _exif(picture("JPEG")), "either"
    yield (
        "tiff",
        "2^32 strips",
        b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 273, 4, 2**32 - 1, 8),
    )
    yield "tiff", "directories in a ring", b"II*\0\x08\0\0\0\0\0" + struct.pack("<I", 8)


def _exif(whole: bytes) -> bytes:
    body = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff\x08\0\0\0" * 50
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + whole[2:]


def _arrays() -> Iterator[tuple]:
    for kind, shape in {
        "2^62 numbers": (BIG,),
        "2^40 numbers": (2**40,),
        "a negative side": (-1, 4),
        "a million axes": (1,) * 4000,
        "one number too many": (3, 5),
    }.items():
        yield "npy", kind, npy(shape, body=bytes(48))
        yield "npz", kind, archive({"a.npy": npy(shape, body=bytes(48))})
    yield "npy", "Python objects", npy((1,), "|O", b"\x80\x04N.")
    yield "npz", "Python objects", archive({"a.npy": npy((1,), "|O", b"\x80\x04N.")})
    yield "npy", "a header that is code", npy((1,), "<f4").replace(b"(1,)", b"f(1)")
    yield (
        "npy",
        "NaN and infinity",
        npy((2, 2), "<f4", np.array([np.nan, np.inf, -1, 1], "<f4").tobytes()),
        "either",
    )
    yield "npy", "big endian", npy((2, 2), ">f4", np.ones(4, ">f4").tobytes()), "either"
    yield "npz", "a bomb of 4 GB", _bomb()
    yield "archive", "a bomb of 4 GB", _bomb("depth")
    yield "cameras", "a bomb of 4 GB", _bomb("names")
    for name in EVIL_NAMES:
        yield (
            "npz",
            f"a member {name!r}",
            archive({f"{name}.npy": npy((1,), body=bytes(4))}),
            "either",
        )
        names = np.array([name.replace("\0", "0"), "b.jpg"])
        yield "archive", f"a view {name!r}", views(names=names), "either"
    for field, value in {
        "depth": np.full((2, 14, 28), np.nan, np.float32),
        "world_to_camera": np.zeros((2, 3, 4)),
        "intrinsics": np.zeros((2, 3, 3)),
        "original_size": np.full((2, 2), -1),
        "images": np.zeros((2, 14, 28, 3), np.float64),
        "names": np.array([1.0, np.nan]),
    }.items():
        yield "archive", f"wrong {field}", views(**{field: value}), "either"
        yield "cameras", f"wrong {field}", views(**{field: value}), "either"
    yield "archive", "depth of one view", views(depth=np.ones((1, 14, 28), np.float32))
    yield "archive", "depth without rows", views(depth=np.float32(1).reshape(()))


def _bomb(name: str = "a") -> bytes:
    """Zeros that pack a thousandfold; a gigabyte a member."""
    import io
    import zipfile

    buffer = io.BytesIO()
    head = npy((2**28,), "<f4")
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open(f"{name}.npy", "w", force_zip64=True) as member:
            member.write(head)
            member.write(bytes(1 << 20))
        info = file.filelist[0]
        info.file_size = 4 << 30  # what the directory says
    return buffer.getvalue()


def _text() -> Iterator[tuple]:
    for name in ("transforms", "student", "recipe", "report", "checkpoint"):
        yield name, "nested 200,000 deep", TREE
        yield name, "a list", b"[]"
        yield name, "a number", b"1"
        yield name, "null", b"null"
        yield name, "an empty object", b"{}"
        yield name, "digits without end", b'{"format": ' + b"9" * 100_000 + b"}"
        yield name, "not UTF-8", b'{"format": "\xff\xfe"}'
    for key in ("teacher", "recipe"):
        for value in (None, [], 3, "x", {"a": 1}, {"backbone": 3}, {"keep": "x"}, {"keep": -1}):
            yield "student", f"{key} is {value!r}", json.dumps(STUDENT | {key: value}).encode()
    for value in (
        None,
        [],
        3,
        {"keep": "x"},
        {"keep": -1},
        {"block": [1]},
        {"summary": [[]]},
        {"x": 1},
    ):
        text = json.dumps({"format": "lite3r-recipe/1", "recipe": value}).encode()
        yield "recipe", f"recipe is {value!r}", text, *(("either",) if value == [] else ())
    for key, value in {
        "w": -1, "h": 10**30, "fl_x": "x", "cx": None, "frames": 3, "camera_angle_x": [],
    }.items():  # fmt: skip
        yield (
            "transforms",
            f"{key} is {value!r}",
            json.dumps(FRAMES | {key: value}).encode(),
            "either",
        )
    for matrix in (
        [],
        [[1]],
        [[float("nan")] * 4] * 4,
        [[0] * 4] * 4,
        POSE[:2],
        "x",
        [[1e300] * 4] * 4,
    ):
        frame = {"file_path": "a.jpg", "transform_matrix": matrix}
        yield (
            "transforms",
            f"a matrix {str(matrix)[:30]}",
            json.dumps(FRAMES | {"frames": [frame]}).encode(),
        )
    yield "list", "a million lines", b"nowhere.jpg\n" * 1_000_000
    yield "list", "a folder above", b"../../../etc/passwd\n", "either"
    yield "list", "no name", b"\0\n"
    yield "list", "a name without end", b"x" * 100_000
    yield "cam_txt", "NaN", b"extrinsic " + b"nan " * 16 + b"intrinsic " + b"nan " * 9
    yield "cam_txt", "a million numbers", b"extrinsic " + b"1 " * 500_000
    yield "pairs", "10^30 views", b"1e30\n"
    yield "pairs", "a million sources", b"1\n0\n1000000 1 1\n"
    yield "pfm", "sides of 10^9", b"Pf\n999999999 999999999\n-1\n" + bytes(99)
    yield "pfm", "a scale of NaN", b"Pf\n1 1\nnan\n" + bytes(4)
    yield "ply", "10^10 vertices", _ply(b"9999999999")
    yield "ply", "10^10 vertices as text", _ply(b"9999999999", b"ascii")
    yield "ply", "minus one vertex", _ply(b"-1")
    yield "ply", "a list property", _ply(b"1").replace(b"float x", b"list uchar int x")
    yield "ply", "a header without end", b"ply\n" + b"comment x\n" * 100_000
    yield (
        "ply",
        "a million properties",
        _ply(b"1").replace(b"end_", b"property float q\n" * 3000 + b"end_"),
    )
    yield "colmap", "a track of nowhere", b"1 1 0 0 0 0 0 0 1 a.jpg\n1.5 2.5 99\n"
    yield "colmap", "another camera", b"1 1 0 0 0 0 0 0 77 a.jpg\n\n"
    yield "colmap", "a quaternion of zeros", b"1 0 0 0 0 0 0 0 1 a.jpg\n\n"
    yield (
        "colmap",
        "the same image twice",
        b"1 1 0 0 0 0 0 0 1 a.jpg\n\n2 1 0 0 0 0 0 0 1 a.jpg\n\n",
    )
    yield "colmap", "a point number beyond 64 bits", b"1 1 0 0 0 0 0 0 1 a.jpg\n1 1 " + b"9" * 30
    yield "colmap points", "2^62 points", struct.pack("<Q", BIG) + bytes(60)
    yield (
        "colmap points",
        "a track of 2^62",
        struct.pack("<QQ3d3BdQ", 1, 1, 0, 0, 1, 9, 9, 9, 0.1, BIG),
    )
    yield "journal", "no JSON", b"x\ny\n", "either"


def _ply(count: bytes, kind: bytes = b"binary_little_endian") -> bytes:
    names = b"".join(b"property float %c\n" % axis for axis in b"xyz")
    return b"ply\nformat %s 1.0\nelement vertex %s\n%send_header\n" % (kind, count, names) + bytes(
        24
    )


def _scenes() -> Iterator[tuple]:
    yield "glb", "nested 200,000 deep", glb({}, text=TREE)
    for key, value in {
        "count": BIG, "componentType": 9999, "type": "MAT4", "bufferView": -1, "byteOffset": -4,
    }.items():  # fmt: skip
        accessor = SCENE["accessors"][0] | {key: value}
        refused = () if key != "bufferView" else ("either",)
        yield "glb", f"{key} is {value}", glb(SCENE | {"accessors": [accessor]}), *refused
    for key, value in {"byteStride": BIG, "byteOffset": BIG, "byteStride ": 0}.items():
        view = SCENE["bufferViews"][0] | {key.strip(): value}
        yield "glb", f"{key} is {value}", glb(SCENE | {"bufferViews": [view]})
    yield "glb", "a chunk of 4 GB", struct.pack("<4sIII4s", b"glTF", 2, 99, 2**32 - 1, b"JSON")
    yield "glb", "points of NaN", glb(SCENE, np.full(9, np.nan, "<f4").tobytes()), "either"


def _weights() -> Iterator[tuple]:
    for name in ("weights", "fp8"):
        yield name, "a header of 2^62 bytes", safetensors({}, length=BIG)
        yield name, "a header nested 200,000 deep", safetensors(TREE)
        tensor = {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 4]}
        yield name, "2^62 numbers", safetensors({"0.weight": tensor}, bytes(4))
        tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, BIG]}
        yield name, "offsets beyond the end", safetensors({"0.weight": tensor}, bytes(4))
    good = {"format": "fp8_qat", "layout": "plain", "recipes": "{}"}
    for kind, change in {
        "recipes nested deep": {"recipes": TREE.decode()},
        "recipes of no JSON": {"recipes": "x"},
        "recipes that are a list": {"recipes": "[]"},
        "a recipe that is a number": {"recipes": '{"0": 1}'},
        "a recipe without fields": {"recipes": '{"0": {}}'},
        "a layout that is not there": {"layout": "x"},
    }.items():
        yield "fp8", kind, safetensors({"__metadata__": good | change})
    yield "fp8", "no recipes", safetensors({"__metadata__": {"format": "fp8_qat"}})
