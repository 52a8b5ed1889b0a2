"""`lite3r bench quality`: rows on the same scenes, in turn, kept as they are measured."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from lite3r.bench.scenes import photo_sets, told_apart
from lite3r.shell.errors import reported
from lite3r.shell.words import Words
from lite3r.student.axes import run_on_drawn
from lite3r.student.deploy import load
from lite3r.student.files import CONFIG
from lite3r.study.candidates import BESIDE_TAUGHT, CHEAP, FULL, ROUNDED, STUDY, Candidate
from lite3r.study.judge import attention_mass, judge
from lite3r.study.prepare import alone, make
from lite3r.study.taught import TAUGHT, taught
from lite3r.study.verdict import ON_PHOTOS, PARTS
from recon_backbones import Backbone, weights_digest
from recon_eval.ablation import measure_rows, named, summarize, verdict
from recon_eval.data import Scene, drawn_scenes
from recon_eval.report import Kept

ROWS = {"cheap": CHEAP, "full": FULL, "study": STUDY, "rounded": ROUNDED, "taught": BESIDE_TAUGHT}
TEACHES = ("full", "taught")  # rows that are trained first
SPLIT = ("64 blocks", "tiles of 16")  # rows whose layers are looked at one by one
FEW = 8  # scenes for that, and for attention masses one
Makers = Mapping[str, Callable[[], Scene]]
Networks = Mapping[str, Callable[[], Backbone]]  # each is made when it is first asked for


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked: which rows, on how many scenes of how many views.

    - `students`: folders of trained students, each a row.
    - `photos`: folders of photos of one scene each; the second judge, without truth.
    - `steps`: of the rows that are trained, in place of their own; `kept`: where they are kept.
    """

    rows: str
    scenes: int
    views: tuple[int, ...]
    size: int
    seed: int
    students: tuple[Path, ...] = ()
    photos: tuple[Path, ...] = ()
    steps: int | None = None
    kept: Path = Path("quality-students")


def measure(question: Question, teacher: Backbone, kept: Kept, words: Words) -> dict[str, Any]:
    """Measure what is not kept yet; the results, and what they say in words.

    Raises UserError for folders that hold no student of the teacher, or too few photos.
    """
    with reported():
        networks, split = _networks(question, teacher, words)
        groups = _groups(question, teacher)
    for group, scenes in groups:
        for number, name in enumerate(words.each(group, scenes, len(scenes))):
            few = number < FEW and group == middle(question)
            every = {**networks, **(split if few else {})}
            measure_rows(group, name, scenes[name], every, judge, kept)
    _masses(question, networks, kept)
    said = verdict(kept.measured, middle(question), PARTS, ON_PHOTOS)
    kept.save(summary=summarize(kept.measured), verdict=said)
    return kept.document


def _networks(question: Question, teacher: Backbone, words: Words) -> tuple[Networks, Networks]:
    """What makes every row, and what makes single layers of some."""
    rows, seen = ROWS[question.rows], partial(run_on_drawn, size=question.size)

    def untrained(candidates: Mapping[str, Candidate]) -> dict[str, Callable[[], Backbone]]:
        return {n: cache(partial(make, teacher, one, seen)) for n, one in candidates.items()}

    found = untrained(rows)
    if question.rows in TEACHES:
        steps: dict[str, Any] = {} if question.steps is None else {"steps": question.steps}
        how: dict[str, Any] = {"size": question.size, "seed": question.seed, "words": words}
        learn = partial(taught, teacher, seen=seen, folder=question.kept, **how)
        for name, lesson in TAUGHT.items():
            lesson = replace(lesson, training=replace(lesson.training, **steps))
            found[name] = cache(partial(learn, name, lesson))
    device = str(next(teacher.parameters()).device)
    for folder in question.students:
        loaded = load(folder, device=device)
        if loaded.weights_sha256 != weights_digest(teacher):
            raise ValueError(f"students={folder}; its teacher must be compared: name that")
        made_of = (folder / CONFIG).read_bytes() + weights_digest(loaded.backbone).encode()
        which = hashlib.sha256(made_of).hexdigest()[:8]  # made again, it is another one
        found[f"student {folder.name} {which}"] = partial(getattr, loaded, "backbone")
    split = [alone(row, rows[row], teacher) for row in SPLIT if row in rows]
    return found, untrained({name: one for layers in split for name, one in layers.items()})


def _groups(question: Question, teacher: Backbone) -> list[tuple[str, Makers]]:
    """Scenes by the judge and the number of views: each is made when it is asked for."""
    groups: list[tuple[str, Makers]] = []
    for views in question.views:
        drawn = _drawn(question, question.scenes, views)
        makers = {f"{i:03}": partial(drawn.__getitem__, i) for i in range(question.scenes)}
        groups.append((f"{views} views", makers))
    most = max(question.views)
    if question.photos:
        read = partial(photo_sets, backbone=teacher, size=question.size, views=most)
        sets = [one for folder in question.photos for one in read(folder)]
        names = enumerate(told_apart(sets))
        named = {f"{name} of {most}": partial(sets.__getitem__, i) for i, name in names}
        groups.append(("photos", named))
    return groups


def _masses(question: Question, networks: Networks, kept: Kept) -> None:
    """Attention masses of every sparse row, on one scene."""
    views = min(8, max(question.views))
    scene = _drawn(question, 1, views)[0]
    for name, network in networks.items():
        known = kept.measured.get(named("mass", name), {}).values()
        if not known or any(figures.get("views") != views for figures in known):
            for layer, figures in attention_mass(network(), scene).items():
                kept.add(named("mass", name), layer, {**figures, "views": views})
    kept.save()


def _drawn(question: Question, count: int, views: int) -> Any:
    return drawn_scenes("test", count=count, views=views, size=question.size, seed=question.seed)


def middle(question: Question) -> str:
    """The group that words are about: 8 views where they are among those asked for."""
    return f"{8 if 8 in question.views else question.views[0]} views"
