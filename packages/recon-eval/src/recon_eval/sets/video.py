"""Frames of a video, by OpenCV (the extra `video`)."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from recon_eval.formats.files import replaced_folder


class VideoFrames:
    """Frames of one video as upright RGB images, `count` spread evenly or every `every`-th.

    The video is decoded once, from the first frame on, so that the frames are those counted and not
    what a seek happens to hit. `numbers` are the frames' positions in the video.
    """

    def __init__(
        self, path: str | Path, *, count: int | None = None, every: int | None = None
    ) -> None:
        self.path = Path(path)
        if (count is None) == (every is None):
            raise ValueError(
                f"count={count}, every={every}; one of them must be given: give one of the two"
            )
        if (count if every is None else every) < 1:  # type: ignore[operator]
            raise ValueError(
                f"count={count}, every={every}; each must be at least 1: leave one out"
            )
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: does not exist or is no file")
        total = sum(1 for _ in _positions(self.path))
        if total < (count or 1):
            raise ValueError(
                f"{self.path}: has {total} readable frames; {count or 1} are asked for: ask "
                "for fewer"
            )
        if count is None:
            self.numbers = list(range(0, total, every or 1))
        else:
            self.numbers = [round(i * (total - 1) / max(count - 1, 1)) for i in range(count)]

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Image.Image]:
        wanted = set(self.numbers)
        for position, capture in enumerate(_positions(self.path)):
            if position in wanted:
                yield _decode(capture, self.path, position)

    def save(self, folder: str | Path) -> list[Path]:
        """Write the frames as PNG into a new folder, all or none; return their paths for `Photos`.

        Raises FileExistsError where the folder is there.
        """
        folder = Path(folder)
        if folder.exists():
            raise FileExistsError(f"{folder}: exists; frames need a new folder: name another")
        names = [f"{number:08d}.png" for number in self.numbers]
        with replaced_folder(folder) as partial:
            for name, image in zip(names, self, strict=True):
                image.save(partial / name)
        return [folder / name for name in names]


def _positions(path: Path) -> Iterator[object]:
    """Advance through a video; at each yield the capture stands on the next frame."""
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "reading video needs OpenCV: pip install opencv-python-headless"
        ) from error
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise ValueError(
                f"{path}: is no video that OpenCV can read; it is broken, or its codec "
                "is not known here: convert it to H.264"
            )
        while capture.grab():
            yield capture
    finally:
        capture.release()


def _decode(capture: object, path: Path, position: int) -> Image.Image:
    done, pixels = capture.retrieve()  # type: ignore[attr-defined]
    if not done:
        raise ValueError(
            f"{path}: frame {position} cannot be decoded; those asked for must be whole: "
            "convert the video"
        )
    return Image.fromarray(pixels[:, :, ::-1].copy())
