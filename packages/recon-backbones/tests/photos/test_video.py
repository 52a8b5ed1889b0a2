"""Frames of a video: as many as asked for, the sharpest, or a refusal."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter

from recon_backbones import PhotoChoice
from recon_backbones.photos import extract_frames

from .pictures import picture


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Two seconds at 15 frames a second; of every five frames the third is sharp."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15.0, (96, 64))
    for number in range(30):
        image = picture(number // 5).transform(
            (96, 64), Image.Transform.AFFINE, (1, 0, number % 5, 0, 1, 0)
        )
        if number % 5 != 2:
            image = image.filter(ImageFilter.GaussianBlur(4))
        writer.write(np.asarray(image)[:, :, ::-1].copy())
    writer.release()
    return path


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (PhotoChoice(fps=3.0), 6),
        (PhotoChoice(frames=6), 6),
        (PhotoChoice(), 30),
        (PhotoChoice(fps=15.0), 30),
        (PhotoChoice(frames=2), 2),
    ],
)
def test_frames_are_as_many_as_asked_for(
    tmp_path: Path, video: Path, options: PhotoChoice, count: int
) -> None:
    found = extract_frames(video, tmp_path / "frames", options)
    assert len(found) == count
    assert sorted(found) == found == sorted((tmp_path / "frames").iterdir())


def test_the_sharpest_frame_of_each_stretch_is_taken(tmp_path: Path, video: Path) -> None:
    found = extract_frames(video, tmp_path / "frames", PhotoChoice(frames=6))
    assert [int(path.stem) for path in found] == [2, 7, 12, 17, 22, 27]
    assert np.asarray(Image.open(found[0])).shape == (64, 96, 3)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (PhotoChoice(frames=31), "30 frames; 31"),
        (PhotoChoice(fps=60.0), "15 frames a second; fps=60 asks for more"),
        (PhotoChoice(fps=0.5), "1 would be taken"),
    ],
)
def test_frames_that_a_video_does_not_have_are_refused(
    tmp_path: Path, video: Path, options: PhotoChoice, part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        extract_frames(video, tmp_path / "frames", options)


def test_a_video_named_by_its_time_is_a_file_and_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    writer = cv2.VideoWriter("clip.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 15.0, (96, 64))
    for number in range(4):
        writer.write(np.asarray(picture(number).resize((96, 64))))
    writer.release()
    named = Path("clip.mp4").rename("12:30.mp4")
    assert len(extract_frames(named, tmp_path / "frames", PhotoChoice(frames=2))) == 2


def test_a_file_without_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(ValueError, match=r"clip.mp4.*no video"):
        extract_frames(tmp_path / "clip.mp4", tmp_path / "frames", PhotoChoice())
    assert not (tmp_path / "frames").exists()
