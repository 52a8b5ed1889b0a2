"""A report: entries of scenes, what was dropped and why, and the versions that computed them."""

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recon_eval.formats.files import parse_json, read_bounded, write_text
from recon_eval.report.entry import Entry, Result, plain, text
from recon_eval.report.markdown import render
from recon_eval.report.statistics import Summary, summarize

FORMAT = "recon-eval-report/1"
MAX_BYTES = 1 << 28
LIBRARIES = ("recon-eval", "torch", "numpy", "scipy", "pillow")


class Report:
    """Results of one model on one data set, scene by scene.

    Nothing is averaged before it is asked for, so shards of a run that were evaluated by different
    processes merge into exactly the report of a single process.

    >>> report = Report(model="teacher", dataset="synthetic/test", seed=0)
    >>> report.drop("scene 3", "no valid pixel")
    >>> report.summary()
    []
    """

    def __init__(self, *, model: str, dataset: str, seed: int | None = None) -> None:
        self.model, self.dataset, self.seed = model, dataset, seed
        self.entries: dict[tuple[str, str], Entry] = {}
        self.dropped: dict[str, str] = {}
        self.versions = {name: version(name) for name in LIBRARIES}
        self.versions["python"] = platform.python_version()

    def add(self, scene: str, *results: Result, frames: Sequence[str | int] = ()) -> None:
        """Keep the results of one scene; `frames` names the views they were computed from."""
        named = tuple(str(frame) for frame in frames)
        self._insert([Entry.of(scene, result, named) for result in results])

    def drop(self, scene: str, reason: str) -> None:
        """Record that a scene has no numbers, and why; it stays visible in the report."""
        if scene in self.dropped or any(scene == name for _, name in self.entries):
            raise ValueError(
                f"scene {scene!r}: is already in the report; each stands once: name it otherwise"
            )
        self.dropped[scene] = reason

    def _insert(self, entries: Iterable[Entry]) -> None:
        new = {}
        for entry in entries:
            key = (entry.protocol, entry.scene)
            if key in self.entries or key in new or entry.scene in self.dropped:
                raise ValueError(
                    f"scene {entry.scene!r} under {entry.protocol!r}: is already in the "
                    "report; each stands once: name it otherwise"
                )
            new[key] = entry
        self.entries |= new

    def values(self, protocol: str, metric: str) -> dict[str, float]:
        """Return a metric of each scene, scenes in order of their names.

        Raises ValueError where there are entries of this protocol, and none has the metric.
        """
        entries = [(s, e) for (kind, s), e in sorted(self.entries.items()) if kind == protocol]
        found = {scene: e.numbers[metric] for scene, e in entries if metric in e.numbers}
        if entries and not found:
            known = ", ".join(entries[0][1].numbers)
            raise ValueError(f"metric={metric!r}; it must be one of {protocol}: {known}")
        return found

    def metrics(self) -> list[tuple[str, str]]:
        """Return every (protocol, metric) with entries: protocols sorted, metrics as they came."""
        found: dict[tuple[str, str], None] = {}
        for (protocol, _), entry in sorted(self.entries.items()):
            found |= dict.fromkeys((protocol, metric) for metric in entry.numbers)
        return list(found)

    def summary(
        self, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
    ) -> list[Summary]:
        """Return each metric's mean over scenes with a bootstrap interval over scenes."""
        return [
            summarize(
                protocol,
                metric,
                list(self.values(protocol, metric).values()),
                level=level,
                resamples=resamples,
                seed=seed,
            )
            for protocol, metric in self.metrics()
        ]

    @classmethod
    def merge(cls, shards: Sequence["Report"]) -> "Report":
        """Return the report of all shards; equal to that of one process, in any order of shards."""
        if not shards:
            raise ValueError(
                "shards: is empty; a report needs at least one: give those of the processes"
            )
        first = shards[0]
        merged = cls(model=first.model, dataset=first.dataset, seed=first.seed)
        merged.versions = dict(first.versions)
        for shard in shards:
            for name in ("model", "dataset", "seed", "versions"):
                if getattr(shard, name) != getattr(first, name):
                    raise ValueError(
                        f"{name}: shards have {getattr(first, name)!r} and "
                        f"{getattr(shard, name)!r}; only equal ones can be merged: give "
                        "those of one run"
                    )
            merged._insert(shard.entries.values())
            for scene, reason in shard.dropped.items():
                merged.drop(scene, reason)
        return merged

    def to_dict(self) -> dict[str, Any]:
        """Return the whole report as JSON values, scenes in order, means and intervals first."""
        return {
            "format": FORMAT,
            "model": self.model,
            "dataset": self.dataset,
            "seed": self.seed,
            "versions": self.versions,
            "summary": [plain(asdict(row)) for row in self.summary()],
            "entries": [entry.to_dict() for _, entry in sorted(self.entries.items())],
            "dropped": dict(sorted(self.dropped.items())),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Report":
        """Read what `to_dict` wrote; the summary is made anew from the entries."""
        if values.get("format") != FORMAT:
            raise ValueError(
                f"format={values.get('format')!r}; it must be {FORMAT!r}: measure again with "
                "this version"
            )
        model, dataset = text(values["model"]), text(values["dataset"])
        report = cls(model=model, dataset=dataset, seed=plain(values["seed"]))
        report.versions = {name: text(number) for name, number in values["versions"].items()}
        report._insert(Entry.from_dict(entry) for entry in values["entries"])
        for scene, reason in values["dropped"].items():
            report.drop(scene, text(reason))
        return report

    def save(self, path: str | Path) -> None:
        """Write `path` as JSON or, by its suffix .md, as Markdown; whole or not at all."""
        path = Path(path)
        if path.suffix == ".json":
            text = json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"
        elif path.suffix == ".md":
            text = self.markdown()
        else:
            raise ValueError(
                f"{path}: has another ending; a report is written as .json or .md: choose one"
            )
        write_text(path, text)

    @classmethod
    def load(cls, path: str | Path) -> "Report":
        """Read a report that was saved as JSON."""
        path = Path(path)
        stored = parse_json(read_bounded(path, MAX_BYTES), path)
        try:
            return cls.from_dict(stored)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            raise ValueError(
                f"{path}: is not a report written by Report.save; {error}: give one that is"
            ) from error

    def markdown(self) -> str:
        """Return tables of the means with intervals, and of what each scene's numbers rest on."""
        return render(self.to_dict(), self.summary())
