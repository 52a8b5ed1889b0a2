"""What `lite3r data make` and `lite3r data check` do."""

from functools import partial

from lite3r.bench.checking import check_folder
from lite3r.options.data import Check, Make
from lite3r.shell import atomic
from lite3r.shell.errors import UserError, reported
from lite3r.shell.terminal import Terminal
from recon_eval.data import SyntheticScenes, write_blendedmvs


def make(asked: Make, terminal: Terminal) -> None:
    """Write everything or nothing."""
    with reported():
        atomic.refuse_existing(asked.out, overwrite=asked.overwrite)
        atomic.check_writable(asked.out)
        atomic.refuse_foreign(asked.out, "folder of drawn scenes", lambda n: n[:10] == "synthetic-")
        made = partial(SyntheticScenes, height=asked.size, width=asked.size, seed=asked.seed)
        drawn = made(asked.split, count=asked.scenes, views=asked.views)
    with reported(OSError), atomic.new_folder(asked.out, overwrite=asked.overwrite) as folder:
        for scene in terminal.words.each("drawing", drawn, asked.scenes):
            write_blendedmvs(scene, folder)
    terminal.result(
        {"out": str(asked.out), "scenes": asked.scenes, "views": asked.views},
        f"{asked.scenes} scenes of {asked.views} views in {asked.out}",
    )


def check(asked: Check, terminal: Terminal) -> None:
    """Print what was found; problems end with exit code 2."""
    with reported():
        found = check_folder(asked.folder, terminal.words)
    for problem in found.problems:
        terminal.say(problem)
    terminal.result(
        {"kind": found.kind, "items": found.items, "problems": found.problems},
        f"{asked.folder}: {found.items} {found.kind}, {len(found.problems)} problems",
    )
    if found.problems:
        count = f"{len(found.problems)} of {found.items} {found.kind}"
        raise UserError(f"{count} are not usable; they are listed above: mend or remove them")
