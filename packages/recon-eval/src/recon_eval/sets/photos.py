"""A folder of photographs, without any ground truth."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from recon_eval.formats.files import SEEN, require_folder
from recon_eval.formats.images import SUFFIXES, image_size, open_image


class Photos:
    """Photographs of one scene in one folder, in the order of their names; sizes may differ.

    `paths` lists them, `sizes` their upright (height, width), and `ignored` the other files of the
    folder; hidden ones are in neither. Every header is read at once, so that a file that is no
    image is refused before any work starts; pixels are decoded when asked for.
    """

    def __init__(self, folder: str | Path, *, at_least: int = 2) -> None:
        self.folder = require_folder(folder, "a folder of photographs")
        files = sorted(path for path in self.folder.glob(f"{SEEN}*") if not path.is_dir())
        self.paths = [path for path in files if path.suffix.lower() in SUFFIXES]
        self.ignored = [path for path in files if path.suffix.lower() not in SUFFIXES]
        if len(self.paths) < at_least:
            known = ", ".join(sorted(SUFFIXES))
            raise ValueError(
                f"{self.folder}: holds {len(self.paths)} photographs ({known}); at least "
                f"{at_least} of one scene are needed: add some"
            )
        self.sizes = [image_size(path) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        return open_image(self.paths[index])

    def __iter__(self) -> Iterator[Image.Image]:
        return (open_image(path) for path in self.paths)
