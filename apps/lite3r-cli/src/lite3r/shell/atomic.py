"""Files and folders that are whole or not there, whatever stops the program."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recon_eval.formats import new_file as new_file
from recon_eval.formats import write_json as write_json
from recon_eval.formats import write_text as write_text


@contextmanager
def new_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes the name `path` when the block succeeds.

    With `overwrite`, what was at `path` is removed only then, so a failure keeps it.
    Raises FileExistsError when `path` exists and `overwrite` is false.
    """
    refuse_existing(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield partial
        partial.chmod(0o755)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
            path.replace(old / path.name)
            partial.replace(path)
            shutil.rmtree(old)
        else:
            partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise FileExistsError where something would be lost that nobody gave up."""
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; add --overwrite, or choose another --out")


def check_writable(folder: Path) -> None:
    """Raise OSError, before any work, when nothing can be written below `folder`."""
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"{existing} is a file, so {folder} cannot be made in it")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OSError(
            f"cannot write in {existing}: {error.strerror}; choose another --out"
        ) from error
