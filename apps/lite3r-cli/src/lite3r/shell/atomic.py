"""Files and folders that are whole or not there, whatever stops the program."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recon_eval.formats import check_takes_file, replaced_folder
from recon_eval.formats import check_writable as check_writable
from recon_eval.formats import new_file as new_file
from recon_eval.formats import parse_json as parse_json
from recon_eval.formats import refuse_foreign as refuse_foreign
from recon_eval.formats import write_json as write_json
from recon_eval.formats import write_text as write_text
from recon_eval.formats.files import SIDECARS as SIDECARS


@contextmanager
def new_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder that takes the name `path`, whole or not at all.

    Raises FileExistsError when `path` exists and `overwrite` is false.
    """
    refuse_existing(path, overwrite=overwrite)
    with replaced_folder(path) as partial:
        yield partial
        refuse_existing(path, overwrite=overwrite)  # another may have come during the work


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise FileExistsError where something would be lost that nobody gave up."""
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists already; it would be lost: add --overwrite, or choose another --out"
        )


def check_new_file(path: Path, *, overwrite: bool) -> None:
    """Raise OSError, before any work, where no file may take the name `path`."""
    check_takes_file(path)
    refuse_existing(path, overwrite=overwrite)
