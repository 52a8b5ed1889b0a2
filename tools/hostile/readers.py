"""Every door through which a file comes in, with a file that is well."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import lite3r
from distill.resume.checkpoint import load_checkpoint
from distill.resume.journal import read_journal
from fp8_qat import convert, load_fp8, prepare, recipes, save_fp8
from hostile.builders import archive, glb, npy, picture, safetensors
from lite3r.student import recipe_file
from recon_backbones import load_backbone
from recon_backbones.photos import decode_photo, find_photos
from recon_backbones.weights.checkpoint import read_state
from recon_eval import Report, formats
from recon_eval.data import Photos
from recon_eval.dtu.observation import read_observation
from recon_eval.reconstruction import read_archive


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A parser: the name of its file, how it is called, and one file that it reads."""

    name: str
    file: str
    read: Callable[[Path], object]
    whole: Callable[[], bytes]
    beside: Callable[[Path], object] = lambda folder: None  # files that it reads as well


def _colmap(folder: Path) -> None:
    (folder / "cameras.txt").write_text("1 PINHOLE 64 48 50 50 32 24\n")
    (folder / "points3D.txt").write_text("1 0 0 1 9 9 9 0.1 1 0\n")


def _model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))


def _fp8() -> bytes:
    import tempfile

    model = _model()
    prepare(model, recipes.rowwise())
    convert(model, backend="reference")
    with tempfile.TemporaryDirectory() as folder:
        save_fp8(model, Path(folder) / "a.safetensors")
        return (Path(folder) / "a.safetensors").read_bytes()


def _mat() -> bytes:
    import io

    from scipy.io import savemat

    buffer = io.BytesIO()
    grid = np.ones((4, 5, 6), bool)
    savemat(buffer, {"ObsMask": grid, "BB": np.array([[0.0, 0, 0], [4, 5, 6]]), "Res": 1.0})
    return buffer.getvalue()


def _npz(**arrays: np.ndarray) -> bytes:
    members = {}
    for name, value in arrays.items():
        members[f"{name}.npy"] = npy(value.shape, value.dtype.str, value.tobytes())
    return archive(members)


def views(**other: np.ndarray) -> bytes:
    """An archive of a reconstruction; `other` arrays take the place of good ones."""
    n, y, x = 2, 14, 28
    eye = np.tile(np.eye(3), (n, 1, 1))
    return _npz(
        **{
            "names": np.array(["a.jpg", "b.jpg"]),
            "original_size": np.full((n, 2), 28),
            "known": np.ones((n, y, x), bool),
            "images": np.zeros((n, y, x, 3), np.uint8),
            "depth": np.ones((n, y, x), np.float32),
            "confidence": np.ones((n, y, x), np.float32),
            "world_to_camera": np.concatenate([eye, np.zeros((n, 3, 1))], axis=2),
            "intrinsics": eye * 20,
            "original_intrinsics": eye * 20,
        }
        | other
    )


SCENE = {
    "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 0}]}],
    "accessors": [{"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 3}],
    "bufferViews": [{"buffer": 0, "byteOffset": 0, "byteLength": 36}],
    "buffers": [{"byteLength": 36}],
}
POSE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
FRAMES = {
    "w": 64,
    "h": 48,
    "fl_x": 50.0,
    "frames": [{"file_path": "a.jpg", "transform_matrix": POSE}],
}
PLY = (
    b"ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty float x\n"
    b"property float y\nproperty float z\nend_header\n" + struct.pack("<6f", *range(6))
)
CAM = f"""
extrinsic {" ".join(str(v) for row in POSE for v in row)}
intrinsic 50 0 32 0 50 24 0 0 1
1 2
"""
STUDENT = {
    "format": "lite3r-student/1",
    "teacher": {"backbone": "da3-tiny", "weights": "random", "sha256": "0"},
    "recipe": {},
}
CHECKPOINT = {"format": 1, "step": 1, "sha256": "0", "state": {}}

READERS = (
    Reader(name="ply", file="a.ply", read=formats.read_ply, whole=lambda: PLY),
    Reader(name="glb", file="a.glb", read=formats.read_glb, whole=lambda: glb(SCENE)),
    Reader(
        name="pfm",
        file="a.pfm",
        read=formats.read_pfm,
        whole=lambda: b"Pf\n4 3\n-1.0\n" + np.ones(12, "<f4").tobytes(),
    ),
    Reader(
        name="npy",
        file="a.npy",
        read=formats.read_depth,
        whole=lambda: npy((3, 4), "<f4", np.ones(12, "<f4").tobytes()),
    ),
    Reader(name="npz", file="a.npz", read=formats.read_npz, whole=lambda: _npz(a=np.arange(50.0))),
    Reader(name="cam_txt", file="a_cam.txt", read=formats.read_cam_txt, whole=lambda: CAM.encode()),
    Reader(
        name="pairs",
        file="pair.txt",
        read=formats.read_pairs,
        whole=lambda: b"2\n0\n1 1 9\n1\n1 0 9\n",
    ),
    Reader(
        name="transforms",
        file="transforms.json",
        read=formats.read_transforms,
        whole=lambda: json.dumps(FRAMES).encode(),
    ),
    Reader(
        name="colmap",
        file="images.txt",
        read=lambda path: formats.read_colmap(path.parent),
        whole=lambda: b"1 1 0 0 0 0 0 0 1 a.jpg\n1.5 2.5 1\n",
        beside=_colmap,
    ),
    Reader(
        name="colmap points",
        file="points3D.bin",
        read=lambda path: formats.read_colmap(path.parent),
        whole=lambda: struct.pack("<QQ3d3BdQ", 1, 1, 0, 0, 1, 9, 9, 9, 0.1, 0),
        beside=lambda folder: (
            (folder / "cameras.bin").write_bytes(
                struct.pack("<QIiQQ4d", 1, 1, 1, 64, 48, 50, 50, 32, 24)
            ),
            (folder / "images.bin").write_bytes(
                struct.pack("<QI7dI", 1, 1, 1, 0, 0, 0, 0, 0, 0, 1) + b"a.jpg\0" + bytes(8)
            ),
        ),
    ),
    Reader(name="depth png", file="a.png", read=formats.read_depth, whole=lambda: picture("PNG")),
    Reader(name="image", file="a.png", read=formats.read_image, whole=lambda: picture("PNG")),
    Reader(name="mask", file="a.png", read=formats.read_mask, whole=lambda: picture("PNG")),
    Reader(
        name="photos",
        file="a.jpg",
        read=lambda path: list(Photos(path.parent, at_least=1)),
        whole=lambda: picture("JPEG"),
    ),
    Reader(
        name="photo",
        file="a.jpg",
        read=lambda path: decode_photo(path, at_least=28),
        whole=lambda: picture("JPEG"),
    ),
    Reader(
        name="tiff",
        file="a.tif",
        read=lambda path: decode_photo(path, at_least=28),
        whole=lambda: picture("TIFF"),
    ),
    Reader(
        name="webp",
        file="a.webp",
        read=lambda path: decode_photo(path, at_least=28),
        whole=lambda: picture("WEBP"),
    ),
    Reader(
        name="list",
        file="photos.txt",
        read=lambda path: find_photos([path], at_least=1),
        whole=lambda: b"a.jpg\n",
        beside=lambda folder: (folder / "a.jpg").write_bytes(picture("JPEG")),
    ),
    Reader(name="archive", file="prediction.npz", read=read_archive, whole=views),
    Reader(name="cameras", file="cameras.npz", read=formats.read_cameras, whole=views),
    Reader(
        name="report",
        file="report.json",
        read=Report.load,
        whole=lambda: json.dumps(Report(model="a", dataset="b").to_dict()).encode(),
    ),
    Reader(name="mat", file="a.mat", read=lambda path: read_observation(path, path), whole=_mat),
    Reader(
        name="student",
        file="config.json",
        read=lambda path: lite3r.load(path.parent),
        whole=lambda: json.dumps(STUDENT).encode(),
    ),
    Reader(
        name="recipe",
        file="recipe.json",
        read=recipe_file.read,
        whole=lambda: json.dumps({"format": recipe_file.FORMAT, "recipe": {}}).encode(),
    ),
    Reader(
        name="weights",
        file="a.safetensors",
        read=lambda path: load_backbone("da3metric-tiny", weights=str(path)),
        whole=lambda: safetensors(
            {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)
        ),
    ),
    Reader(
        name="pickle",
        file="a.pt",
        read=read_state,
        whole=lambda: _saved({"a": torch.zeros(4)}),
    ),
    Reader(
        name="fp8",
        file="a.safetensors",
        read=lambda path: load_fp8(_model(), path, backend="reference"),
        whole=_fp8,
    ),
    Reader(
        name="checkpoint",
        file="state.json",
        read=lambda path: load_checkpoint(path.parent),
        whole=lambda: json.dumps(CHECKPOINT).encode(),
        beside=lambda folder: (folder / "tensors.safetensors").write_bytes(safetensors({})),
    ),
    Reader(
        name="journal",
        file="log.jsonl",
        read=read_journal,
        whole=lambda: b'{"step": 1, "kind": "step"}\n',
    ),
)
BY_NAME = {reader.name: reader for reader in READERS}


def _saved(value: object) -> bytes:
    import io

    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()
