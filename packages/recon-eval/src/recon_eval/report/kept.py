"""Measurements that are kept in a file as they are made, and are not made again."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from recon_eval.formats import write_json


class Kept:
    """Figures by name and scene in one JSON file, with what they were measured on.

    - `anew`: what the file holds goes, once there is something to save.

    Raises ValueError for a file that holds something else, or was measured on something else.
    """

    def __init__(
        self, path: Path | None, what: str, setting: Mapping[str, Any], *, anew: bool = False
    ) -> None:
        self.path, self._replaces = path, anew
        self.document: dict[str, Any] = {"what": what, "setting": dict(setting), "measured": {}}
        if path is not None and path.is_file() and not anew:
            self.document = _read(path, what, json.loads(json.dumps(dict(setting))))

    @property
    def measured(self) -> dict[str, dict[str, Any]]:
        """Figures: name, then scene."""
        found: dict[str, dict[str, Any]] = self.document["measured"]
        return found

    def find(self, name: str, scene: str) -> dict[str, Any] | None:
        """What was measured, if it was."""
        return self.measured.get(name, {}).get(scene)

    def add(self, name: str, scene: str, figures: Mapping[str, Any]) -> None:
        """Take figures in; `save` writes them."""
        self.measured.setdefault(name, {})[scene] = dict(figures)

    def save(self, **more: Any) -> None:
        """Write the file, whole or not at all, with what else belongs to it.

        What another run has kept there since then is taken in; raises ValueError where that run
        measured something else.
        """
        self.document |= more
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(self.path.parent):
            if self.path.is_file() and not self._replaces:
                setting = json.loads(json.dumps(self.document["setting"]))
                others = _read(self.path, self.document["what"], setting)["measured"]
                for name, figures in others.items():
                    self.measured[name] = {**figures, **self.measured.get(name, {})}
            write_json(self.path, self.document)
        self._replaces = False


def read_results(path: Path, what: str) -> list[dict[str, Any]]:
    """The results of a finished measurement. Raises ValueError for a file of something else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["what"] != what:
            raise KeyError("what")
        results: list[dict[str, Any]] = document["results"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no results of {what}; it must: give the file that was written"
        ) from error
    return results


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let no other process save in a folder meanwhile, where system and disk have locks."""
    if os.name != "posix":
        yield
        return
    locks, handle = import_module("fcntl"), os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network disks have none
            locks.flock(handle, locks.LOCK_EX)
        yield
    finally:
        with suppress(OSError):
            locks.flock(handle, locks.LOCK_UN)  # a process forked meanwhile would go on holding it
        os.close(handle)


def _read(path: Path, what: str, setting: Mapping[str, Any]) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found, before = document["what"], dict(document["setting"])
        document["measured"] = {
            name: {scene: dict(figures) for scene, figures in scenes.items()}
            for name, scenes in document["measured"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} holds no results of {what}; they would be lost: choose another --out"
        ) from error
    if found != what:
        raise ValueError(
            f"{path} holds results of {found}; they must be of {what}: choose another --out"
        )
    differs = [k for k in {**setting, **before} if setting.get(k) != before.get(k)]
    if differs:
        name = differs[0]  # as it was given: what follows from another comes after it
        raise ValueError(
            f"{name}={setting.get(name)!r} differs from {before.get(name)!r} in {path}; one file "
            "holds one setting: choose another --out, or add --overwrite"
        )
    return document
