"""How much of the quality that sparsity and FP8 cost does distillation win back, and by what?

    python apps/lite3r-cli/benchmarks/half_the_gap.py --out gap.json
    python apps/lite3r-cli/benchmarks/half_the_gap.py --out gap.json --only attn

Teacher, training-free student and one distilled student per way of training are measured on the
same unseen scenes. A way's share of the gap is (untrained - distilled) / (untrained - teacher) of
the means, with a bootstrap interval over scenes. The file is extended way by way: what it holds
for the same settings is not done again, and an interrupted training goes on.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import distill
from distill import Training
from lite3r.bench.quality import evaluate
from lite3r.distillation.teach import Watched, teach
from lite3r.shell import atomic
from lite3r.shell.environment import environment
from lite3r.shell.terminal import Output, Terminal
from lite3r.student.compose import lighten
from lite3r.student.recipes import tiles
from lite3r.student.student import TeacherSpec
from recon_backbones import Backbone
from recon_eval.data import Scene, drawn_scenes
from recon_eval.protocols import DEPTH, POSE

METRICS = {"abs_rel": (DEPTH, "abs_rel"), "auc30": (POSE, "auc30")}
RESAMPLES = 10_000


def way(trainable: Any, match: Any, *, steps: int, rate: float, solve: int = 0) -> Any:
    """One way of training: the change of the recipe, and the settings of the training."""
    training = Training(
        steps=steps, learning_rate=rate, match=match, solve_batches=solve, checkpoint_every=25
    )
    return trainable, training


def ways(steps: int) -> dict[str, tuple[Any, Training]]:
    """What is compared; every way sees the same number of scenes."""
    return {
        "proj": way("proj", "attention", steps=steps, rate=1e-3),
        "proj, solved first": way("proj", "attention", steps=steps, rate=1e-3, solve=8),
        "proj, outputs": way("proj", "outputs", steps=steps, rate=1e-3),
        "lora": way("lora", "attention", steps=steps, rate=3e-4),
        "lora, outputs": way("lora", "outputs", steps=steps, rate=3e-4),
        "attn": way("attn", "attention", steps=steps, rate=2e-4),
        "attn, outputs": way("attn", "outputs", steps=steps, rate=2e-4),
        "all, outputs": way("all", "outputs", steps=steps, rate=1e-4),
    }


class Study:
    """The file, and what it still lacks."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out = options, Path(options.out)
        self.terminal = Terminal(Output())
        self.shape = {"views": options.views, "size": options.size, "seed": options.seed}
        self.recipe = replace(tiles(), keep=options.keep)
        self.spec = TeacherSpec(backbone="da3-tiny", weights="bundled")
        self.train = drawn_scenes("train", count=options.train_scenes, **self.shape)
        self.document = self._begin()

    def _begin(self) -> dict[str, Any]:
        settings = {k: v for k, v in vars(self.options).items() if k not in ("out", "only")}
        settings["recipe"] = self.recipe.to_dict()
        if self.out.exists():
            document: dict[str, Any] = json.loads(self.out.read_text(encoding="utf-8"))
            if document["settings"] != settings:
                raise SystemExit(f"{self.out} is of other settings: {document['settings']}")
            return document
        return {"settings": settings, "environment": environment(), "ways": {}}

    def run(self) -> None:
        """Measure teacher and untrained student, then every way that is missing."""
        known = ways(self.options.steps)
        chosen = self.options.only or list(known)
        if unknown := set(chosen) - set(known):
            raise SystemExit(f"--only {sorted(unknown)}: known are {sorted(known)}")
        judged = self._unseen()
        teacher = self.spec.load()
        if "teacher" not in self.document:
            untrained = lighten(teacher, self.recipe, self.spec).backbone
            self.document["teacher"] = self._measure(teacher, judged, "teacher")
            self.document["untrained"] = self._measure(untrained, judged, "untrained")
            self._save()
        batches = distill.Views(lambda i: self.train[i].images, count=len(self.train))
        for name in chosen:
            if name not in self.document["ways"]:
                self.document["ways"][name] = self._try(
                    name, *known[name], teacher, batches, judged
                )
                self._save()
        print(json.dumps({n: w["closed"] for n, w in self.document["ways"].items()}, indent=1))

    def _unseen(self) -> list[Scene]:
        count = self.options.test_scenes
        test = drawn_scenes("test", count=count, **self.shape)
        with self.terminal.progress("drawing unseen scenes", count) as advance:
            judged = []
            for number in range(count):
                judged.append(test[number])
                advance()
        return judged

    def _try(
        self,
        name: str,
        trainable: Any,
        training: Training,
        teacher: Backbone,
        batches: distill.Views,
        judged: Sequence[Scene],
    ) -> dict[str, Any]:
        recipe = replace(self.recipe, trainable=trainable)
        student = lighten(teacher, recipe, self.spec)
        folder = self.out.with_suffix("") / name.replace(", ", "-").replace(" ", "-")
        with self.terminal.progress(name, training.taught(recipe.trainable)) as advance:
            result = teach(
                student,
                teacher,
                batches,
                training,
                seed=self.options.seed,
                directory=folder,
                reporter=Watched(self.terminal.words, advance),
            )
        if result.told_to_stop:
            raise KeyboardInterrupt
        found = self._measure(student.backbone.eval(), judged, name)
        return {
            "training": asdict(training),
            "trainable": trainable,
            "trained_parameters": sum(p.numel() for p in student.trained().values()),
            "losses": [e["losses"]["loss"] for e in result.history if e["kind"] == "step"],
            **found,
            "closed": {
                metric: closed(*(found_["scenes"][metric] for found_ in self._three(found)))
                for metric in METRICS
            },
        }

    def _three(self, found: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        return self.document["teacher"], self.document["untrained"], found

    def _measure(self, model: Backbone, judged: Sequence[Scene], label: str) -> dict[str, Any]:
        with self.terminal.progress(f"measuring {label}", len(judged)) as advance:
            report = evaluate(
                model, judged, model=label, dataset="synthetic", seed=0, advance=advance
            )
        values = {name: report.values(*where) for name, where in METRICS.items()}
        means = {name: float(np.mean(list(v.values()))) for name, v in values.items()}
        return {"means": means, "scenes": values}

    def _save(self) -> None:
        atomic.write_json(self.out, self.document)


def closed(
    teacher: Mapping[str, float], untrained: Mapping[str, float], found: Mapping[str, float]
) -> dict[str, float]:
    """Share of the gap between untrained student and teacher that is closed, over scenes.

    Ratio of mean differences; the interval draws scenes anew, the same for all three models
    (Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13).
    """
    names = sorted(teacher)
    of_teacher, of_untrained, of_found = (
        np.array([values[name] for name in names]) for values in (teacher, untrained, found)
    )
    won, gap = of_untrained - of_found, of_untrained - of_teacher
    draws = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    shares = won[draws].mean(axis=1) / gap[draws].mean(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return {"share": float(won.mean() / gap.mean()), "low": float(low), "high": float(high)}


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="JSON file, extended when it exists")
    parser.add_argument("--only", nargs="*", help="ways to try; all unless given")
    parser.add_argument("--keep", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--train-scenes", type=int, default=300)
    parser.add_argument("--test-scenes", type=int, default=64)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    Study(options).run()


if __name__ == "__main__":
    main()
