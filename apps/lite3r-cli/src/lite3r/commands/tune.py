"""What `lite3r tune` does."""

from pathlib import Path

from lite3r.bench.scenes import half_of, photo_sets, told_apart
from lite3r.options.tune import Tune
from lite3r.shell import atomic
from lite3r.shell.environment import environment, pick_device
from lite3r.shell.errors import reported
from lite3r.shell.terminal import Terminal
from lite3r.student import recipe_file
from lite3r.student.student import TeacherSpec
from lite3r.study.prepare import kept_on
from lite3r.study.tune import Tuned, tune
from recon_eval.ablation import Allowed, tried_panels, tried_tables
from recon_eval.report import Kept, svg

RECIPE, MEASURED, TABLE, PLOT = "recipe.json", "measured.json", "tune.md", "tune.svg"


def run(asked: Tune, terminal: Terminal) -> None:
    """Measure, choose, write."""
    folder = asked.out or Path("runs") / f"tune-{asked.backbone}"
    spec = TeacherSpec.chosen(asked.backbone, asked.weights, asked.seed)
    with reported():
        allowed = Allowed(allow=asked.allow, allow_pose=asked.allow_pose)
        atomic.check_writable(folder)
        goes_on = asked.overwrite or (folder / MEASURED).is_file()
        for name in (RECIPE, MEASURED, TABLE, PLOT):
            atomic.check_new_file(folder / name, overwrite=goes_on)
        views = asked.views or half_of(asked.data)
        teacher = spec.load(device=pick_device(asked.device))
        sets = photo_sets(asked.data, teacher, size=asked.size, views=views)
        # photos, as they are read, follow from the others
        setting = {"views": views, "size": asked.size, "photos": told_apart(sets)}
        kept = kept_on(teacher, folder / MEASURED, "lite3r tune", anew=asked.overwrite, **setting)
    with reported(of=("recon_eval",)):  # where another run writes, or an answer is NaN
        found = tune(teacher, sets, allowed, kept, terminal.words)
        kept.save(environment=environment(), rows=list(found.rows), layers=list(found.layers))
    shown = tried_tables(found.rows, found.layers, found.choice.key if found.choice else None)
    _write(asked, folder, found, kept, shown)
    terminal.result(kept.document, shown)
    terminal.say(
        f"recipe: {folder / RECIPE}"
        if found.choice
        else f"no cheaper candidate stays within allow={asked.allow}, "
        f"allow_pose={asked.allow_pose}; {folder / TABLE} shows how near each comes: give "
        "more views (few cost what dense does), or allow more"
    )


def _write(asked: Tune, folder: Path, found: Tuned, kept: Kept, shown: str) -> None:
    atomic.write_text(folder / TABLE, shown)
    atomic.write_text(folder / PLOT, svg(tried_panels(found.rows)))
    if found.choice is None:
        (folder / RECIPE).unlink(missing_ok=True)
        return
    found_on = kept.document["setting"] | {"allow": asked.allow, "allow_pose": asked.allow_pose}
    recipe_file.write(folder / RECIPE, found.choice.fields, found_on=found_on)
