"""What `lite3r distill` does."""

import shlex
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from distill import Training
from distill.resume.hold import held_alone
from lite3r.bench.images import ImageSettings
from lite3r.bench.metrics import METRICS
from lite3r.distillation import folder as folders
from lite3r.distillation import run as work
from lite3r.distillation.data import photos_of
from lite3r.distillation.plan import Plan
from lite3r.options.distill import Distill
from lite3r.shell.environment import pick_device
from lite3r.shell.errors import reported
from lite3r.shell.tables import rich_table
from lite3r.shell.terminal import Terminal
from lite3r.student.recipe_file import chosen
from lite3r.student.student import TeacherSpec

DECIDE = ("backbone", "weights", "data", "views", "size", "eval_scenes", "seed")  # the weights


def run(asked: Distill, terminal: Terminal) -> None:
    """Check the folder before anything heavy, then do the work."""
    folder = asked.out or Path("runs") / asked.backbone
    plan = plan_of(asked)
    how = {"resume": asked.resume, "overwrite": asked.overwrite}
    check = partial(folders.check, folder, plan.settings, **how)
    check()  # before it is made
    with reported(ValueError, of=("distill.resume.hold",)), held_alone(folder, writes=True):
        report = work.run(plan, folder, check(), terminal.words)
    terminal.say(report["summary"])
    terminal.say(report.get("about", ""))
    terminal.result(report, rich_table(METRICS, report["rows"], dict(report["facts"])["data"]))
    terminal.say(f"report: {folder / 'report.html'}")
    terminal.say(f"photos of yours: lite3r reconstruct PHOTOS --model {shlex.quote(str(folder))}")


def plan_of(asked: Distill) -> Plan:
    """The same as one value, without words of the command line. Raises UserError."""
    with reported():
        recipe = chosen(**vars(asked.recipe))
        training = Training(**vars(asked.training)).of(recipe.trainable)
        device = pick_device(asked.device)
        settings: dict[str, Any] = {n: getattr(asked, n) for n in DECIDE} | photos_of(asked.data)
    return Plan(
        teacher=TeacherSpec.chosen(asked.backbone, asked.weights, asked.seed),
        recipe=recipe,
        training=training,
        data=asked.data,
        images=ImageSettings(views=asked.views, size=asked.size),
        judged=asked.eval_scenes,
        photos=asked.photos,
        many_views=asked.many_views,
        many_scenes=asked.many_scenes,
        seed=asked.seed,
        device=device,
        backend=asked.backend,
        precision=asked.precision,
        settings=settings | {"recipe": recipe.to_dict(), "training": asdict(training)},
    )
