"""A path that holds no data is an error that names it, whatever reads it: never dummy data."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recon_eval import Report, data, dtu, formats

READERS: dict[str, Callable[[Path], object]] = {
    "BlendedMVS": lambda path: data.BlendedMVS(path, "held_out"),
    "DTU": lambda path: data.DTU(path, [1]),
    "DTU64": dtu.dtu64,
    "DTU's truth": lambda path: dtu.find_truth(path, 1),
    "MVSNet": data.read_mvsnet,
    "ETH3D": lambda path: data.ETH3D(path, size=(4, 4)),
    "7-Scenes": lambda path: data.SevenScenes(path, "test", step=1),
    "ScanNet++": data.ScanNetPP,
    "stereo": data.read_stereo,
    "photographs": data.Photos,
    "video": lambda path: data.VideoFrames(path, count=1),
    "PFM": formats.read_pfm,
    "PLY": formats.read_ply,
    "GLB": formats.read_glb,
    "image": formats.read_image,
    "camera": formats.read_cam_txt,
    "pairs": formats.read_pairs,
    "report": Report.load,
}
FOLDERS = tuple(READERS)[:10]


@pytest.mark.parametrize("reader", READERS)
def test_what_does_not_exist_is_named(tmp_path: Path, reader: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere: does not exist"):
        READERS[reader](tmp_path / "nowhere")


@pytest.mark.parametrize("reader", READERS)
def test_an_empty_folder_or_file_is_refused_by_name(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "empty"
    path.mkdir() if reader in FOLDERS else path.touch()
    with pytest.raises((ValueError, FileNotFoundError), match="empty"):
        READERS[reader](path)


@pytest.mark.parametrize("reader", FOLDERS)
def test_a_file_where_a_folder_belongs_is_refused_by_name(tmp_path: Path, reader: str) -> None:
    (tmp_path / "file").write_text("hello")
    with pytest.raises(NotADirectoryError, match="file: is a file"):
        READERS[reader](tmp_path / "file")
