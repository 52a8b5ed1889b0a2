"""Text and JSON of data sets: whatever they say, they are read or refused with their name."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recon_eval import Report, data, formats
from recon_eval.sets.eth3d import colmap_frames

on_disk = settings.get_profile("on_disk")
POSE = "1 0 0 0.5\n0 1 0 0\n0 0 1 2\n0 0 0 1\n"
CALIBRATION = "cam0=[100 0 4; 0 100 3; 0 0 1]\ndoffs=2\nbaseline=50\n"
CAMERAS = "1 PINHOLE 8 6 50 51 4 3\n"
IMAGES = "1 1 0 0 0 0 0 0 1 a.png\n\n"
TRANSFORMS = {
    "fl_x": 50,
    "fl_y": 51,
    "cx": 4,
    "cy": 3,
    "w": 8,
    "h": 6,
    "frames": [{"file_path": "a.png", "transform_matrix": np.diag([1, -1, -1, 1]).tolist()}],
}
STEREO = {"fx": 100, "cx": 4, "cy": 3, "doffs": 2, "baseline_mm": 50}
REPORT = {
    "format": "recon-eval-report/1",
    "model": "m",
    "dataset": "d",
    "seed": 0,
    "versions": {},
    "entries": [
        {"scene": "s", "protocol": "p", "frames": ["0"], "numbers": {"a": 1}, "provenance": {}}
    ],
    "dropped": {},
}
GLB = {
    "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
    "accessors": [{"bufferView": 0, "componentType": 5126, "count": 2, "type": "VEC3"}],
    "bufferViews": [{"byteOffset": 0, "byteStride": 12}],
}


def photo(path: Path, size: tuple[int, int] = (6, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*size, 3), dtype=np.uint8)).save(path)


def middlebury(folder: Path) -> Path:
    for name in ("im0.png", "im1.png"):
        photo(folder / name)
    formats.write_pfm(folder / "disp0.pfm", np.ones((6, 8), dtype=np.float32))
    return folder / "calib.txt"


def scikit_stereo(folder: Path) -> Path:
    photo(folder / "a_left.png")
    photo(folder / "a_right.png")
    np.savez(folder / "a_disp.npz", np.ones((6, 8), dtype=np.float32))
    return folder / "calib.json"


def seven_scenes(folder: Path) -> Path:
    stem = folder / "seq-01/frame-000000"
    photo(Path(f"{stem}.color.png"), (480, 640))
    Image.fromarray(np.ones((480, 640), dtype=np.uint16)).save(f"{stem}.depth.png")
    Path(f"{stem}.pose.txt").write_text(POSE)
    (folder / "TestSplit.txt").write_text("sequence1\n")
    return folder


def scannetpp(folder: Path) -> Path:
    photo(folder / "a/dslr/undistorted_images/a.png")
    path = folder / "a/dslr/nerfstudio/transforms_undistorted.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def colmap(folder: Path) -> Path:
    photo(folder / "images/a.png")
    (folder / "cameras.txt").write_text(CAMERAS)
    (folder / "images.txt").write_text(IMAGES)
    return folder


def glb(scene: bytes) -> bytes:
    binary = np.arange(6, dtype="<f4").tobytes()
    chunks = struct.pack("<I4s", len(scene), b"JSON") + scene
    chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return b"glTF\x02\0\0\0" + struct.pack("<I", 12 + len(chunks)) + chunks


def read_or_refused(read: Callable[[], object], folder: Path) -> None:
    try:
        read()
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        assert str(folder) in str(error)


edits = st.tuples(st.floats(0, 1), st.integers(0, 9), st.text(max_size=9))
Edit = tuple[float, int, str]


def edited(text: str, edit: Edit) -> bytes:
    place, gone, new = edit
    start = int(place * len(text))
    return (text[:start] + new + text[start + gone :]).encode("utf-8", "surrogatepass")


@given(edit=edits)
@on_disk
def test_calibrations(tmp_path: Path, edit: Edit) -> None:
    middlebury(tmp_path).write_bytes(edited(CALIBRATION, edit))
    read_or_refused(lambda: data.read_stereo(tmp_path), tmp_path)


@given(edit=edits, name=st.sampled_from(["TestSplit.txt", "seq-01/frame-000000.pose.txt"]))
@on_disk
def test_poses_and_splits(tmp_path: Path, edit: Edit, name: str) -> None:
    path = seven_scenes(tmp_path) / name
    path.write_bytes(edited(path.read_text(), edit))
    read_or_refused(lambda: data.SevenScenes(tmp_path, "test", step=1)[0], tmp_path)


@given(place=st.floats(0, 1), content=st.binary(min_size=1, max_size=6), cut=st.booleans())
@on_disk
def test_depth_pictures(tmp_path: Path, place: float, content: bytes, cut: bool) -> None:
    path = seven_scenes(tmp_path) / "seq-01/frame-000000.depth.png"
    raw = path.read_bytes()
    start = int(place * (len(raw) - 1))
    path.write_bytes(raw[:start] + content + (b"" if cut else raw[start + len(content) :]))
    read_or_refused(lambda: data.SevenScenes(tmp_path, "test", step=1)[0], tmp_path)


@given(edit=edits, name=st.sampled_from(["cameras.txt", "images.txt"]))
@on_disk
def test_colmap_models(tmp_path: Path, edit: Edit, name: str) -> None:
    path = colmap(tmp_path) / name
    path.write_bytes(edited(path.read_text(), edit))
    read_or_refused(lambda: colmap_frames(tmp_path, tmp_path / "images"), tmp_path)


@pytest.mark.parametrize("name", ["../images/a.png", "/etc/passwd", "b/../../images/a.png"])
def test_a_model_names_no_image_outside_its_folder(tmp_path: Path, name: str) -> None:
    folder = colmap(tmp_path)
    (folder / "images.txt").write_text(IMAGES.replace("a.png", name))
    with pytest.raises(ValueError, match=r": the image '.*' lies outside"):
        colmap_frames(folder, folder / "images")


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.sampled_from([0, -1, 1, 2**31, 2**40, 2**63]),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-2, 2), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@st.composite
def spoilt(draw: st.DrawFn, value: Any) -> Any:
    """JSON in which one value, at any depth, is another or gone."""
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 4)) == 0:
        return draw(leaves)
    copy = value.copy()
    key = draw(st.sampled_from(sorted(copy))) if isinstance(copy, dict) else 0
    if isinstance(copy, dict) and draw(st.integers(0, 4)) == 0:
        del copy[key]
    else:
        copy[key] = draw(spoilt(copy[key]))
    return copy


def write_json(folder: Path, kind: str, raw: bytes) -> Callable[[], object]:
    """Put a JSON file where its reader looks for it, and return that reader."""
    if kind == "ScanNet++":
        scannetpp(folder).write_bytes(raw)
        return lambda: data.ScanNetPP(folder)[0]
    if kind == "stereo":
        scikit_stereo(folder).write_bytes(raw)
        return lambda: data.read_stereo(folder)
    path = folder / f"a.{kind}"
    path.write_bytes(glb(raw) if kind == "glb" else raw)
    return lambda: formats.read_glb(path).points if kind == "glb" else Report.load(path)


WHOLE = {"ScanNet++": TRANSFORMS, "stereo": STEREO, "glb": GLB, "report": REPORT}


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_json_is_read(tmp_path: Path, kind: str) -> None:
    assert write_json(tmp_path, kind, json.dumps(WHOLE[kind]).encode())() is not None


@pytest.mark.parametrize("kind", WHOLE)
@given(choice=st.data())
@on_disk
def test_spoilt_json_is_read_or_refused(tmp_path: Path, kind: str, choice: st.DataObject) -> None:
    raw = json.dumps(choice.draw(spoilt(WHOLE[kind]))).encode()
    read_or_refused(write_json(tmp_path, kind, raw), tmp_path)


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("raw", [b"", b"[", b"\xff", b"[" * 100_000, b'{"a":' * 50_000])
def test_what_is_no_json_is_refused(tmp_path: Path, kind: str, raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"is no JSON|has 0 bytes"):
        write_json(tmp_path, kind, raw)()


def test_points_far_apart_in_a_glb_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    scene = json.loads(json.dumps(GLB))
    scene["accessors"][0]["count"] = 1
    scene["bufferViews"][0]["byteStride"] = 2**40
    read = write_json(tmp_path, "glb", json.dumps(scene).encode())
    with pytest.raises(ValueError, match="they must fit, 12 to 252"):
        read()
