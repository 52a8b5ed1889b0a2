"""What `lite3r bench speed` and `lite3r bench plot` do."""

from typing import Any

from lite3r.bench.speed import Setting, bench, markdown
from lite3r.options.bench import Plot, Speed, width_and_height
from lite3r.shell import atomic
from lite3r.shell.environment import environment, pick_device
from lite3r.shell.errors import reported
from lite3r.shell.terminal import Terminal
from lite3r.student.recipe_file import chosen
from lite3r.student.recipes import Recipe
from recon_eval.efficiency import cost_panels
from recon_eval.report import read_results, svg

WHAT = "lite3r bench speed"


def speed(asked: Speed, terminal: Terminal) -> None:
    """Measure, print Markdown tables, write the file."""
    with reported():
        recipe = chosen(**vars(asked.recipe))
        if asked.out is not None:
            atomic.check_new_file(asked.out, overwrite=asked.overwrite)
    settings = [_setting(asked, views, size) for size in asked.sizes for views in asked.views]
    with reported():  # all of them, before the first is measured
        base = settings[0].load(pick_device(asked.device))
        for setting in settings:
            setting.check(base)
    results = [_measure(asked, recipe, setting, base, terminal) for setting in settings]
    document: dict[str, Any] = {"what": WHAT, "environment": environment()}
    document |= {"recipe": recipe.to_dict(), "repeats": asked.repeats, "results": results}
    if asked.out is not None:
        atomic.write_json(asked.out, document)
    terminal.result(document, markdown(results))


def _setting(asked: Speed, views: int, size: str) -> Setting:
    width, height = width_and_height(size)
    how: dict[str, Any] = {"backbone": asked.backbone, "weights": asked.weights, "seed": asked.seed}
    return Setting(views=views, height=height, width=width, **how)


def _measure(
    asked: Speed, recipe: Recipe, setting: Setting, base: Any, terminal: Terminal
) -> dict[str, Any]:
    how = {name: getattr(asked, name) for name in ("backend", "repeats", "seconds")}
    terminal.say(f"{setting} ...")
    return bench(setting, base, recipe, **how, with_compile=not asked.no_compile, say=terminal.say)


def plot(asked: Plot, terminal: Terminal) -> None:
    """Read, draw, write."""
    with reported():
        atomic.check_new_file(asked.out, overwrite=asked.overwrite)
        drawn = svg(cost_panels(read_results(asked.results, WHAT)))
    atomic.write_text(asked.out, drawn)
    terminal.result({"out": str(asked.out)}, f"{asked.out}")
