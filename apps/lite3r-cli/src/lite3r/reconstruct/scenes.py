"""Many scenes, each whole by itself: any number of processes take them from one queue."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distill import Queue, forget_done, use_own_gpu, work_off
from lite3r.reconstruct.run import Plan, of_one, run, title
from lite3r.shell import atomic
from lite3r.shell.errors import UserError, reported
from lite3r.shell.words import Words

NOT_OF_A_SCENE = ("photos", "device")  # of a plan: processes may differ in them


def run_scenes(plan: Plan, folder: Path, words: Words) -> dict[str, Any]:
    """Reconstruct each input as a scene of its own, into `folder`, with others who do the same.

    Returns what was made, for machines. Raises UserError for what cannot be used, and at the end
    where scenes are broken; all others are whole then.
    """
    scenes = _named(plan)
    settings = {name: value for name, value in asdict(plan).items() if name not in NOT_OF_A_SCENE}
    settings["backbone"] = plan.backbone or "da3-tiny"  # named or not, it is the same

    def work(name: str, start: int) -> dict[str, Any]:
        words.say(f"scene {name}")
        return run(of_one(plan, scenes[name]), folder / name, overwrite=start > 1, words=words)

    use_own_gpu()
    with reported(ValueError, OSError):
        atomic.check_writable(folder)
        queue = Queue(
            folder=folder / "queue",
            settings=json.loads(json.dumps(settings, default=str)),
            broken=(UserError,),
        )
        # one whose folder was removed is made again
        forget_done(queue, [name for name in scenes if not (folder / name).exists()])
        found = work_off(queue, scenes, work, say=words.say)
    if found.broken:
        raise UserError(
            f"{len(found.broken)} of {len(scenes)} scenes are broken: mend them, remove their "
            f"notes in {queue.folder}, and start again\n  "
            + "\n  ".join(f"{name}: {why}" for name, why in found.broken.items())
        )
    return {"out": str(folder), "scenes": list(scenes), "own": list(found.own)}


def _named(plan: Plan) -> dict[str, str]:
    """Each input by the name of its scene."""
    found: dict[str, str] = {}
    for given in plan.photos:
        name = title((given,))
        if name in found:
            raise UserError(f"{found[name]}, {given}; both are named {name}: rename one of them")
        found[name] = given
    return found
