"""A process at a queue: `queue_worker.py FOLDER NAME...`; see `test_queue.py` for what jobs do."""

import json
import os
import sys
import time
from pathlib import Path

from distill import Queue, work_off


def work(folder: Path, name: str) -> dict[str, int]:
    with (folder / "log").open("a") as log:  # one write: lines of processes do not mix
        log.write(f"{name} {os.getpid()}\n")
    if name.startswith("long") and not (folder / "released").exists():
        time.sleep(60)
    time.sleep(0.05)
    return {"by": os.getpid()}


def main(folder: Path, names: list[str]) -> None:
    queue = Queue(folder=folder / "queue", pause_seconds=0.02)
    found = work_off(queue, {name: name for name in names}, lambda name, start: work(folder, name))
    told = {"own": found.own, "all": list(found.notes)}
    (folder / f"told.{os.getpid()}").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
