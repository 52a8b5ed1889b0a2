"""Everything that only a GPU can tell, in order of worth, in one command.

    python tools/gpu_day.py                     every step; once more, and it goes on
    python tools/gpu_day.py --only smoke rows   some of them
    python tools/gpu_day.py --only memory       kernels under compute-sanitizer, and without a cache
    python tools/gpu_day.py --rehearse          the same steps on a CPU with tiny shapes
    python tools/gpu_day.py --pack              wheels for a machine without network

Each step runs in a process of its own with a limit of its own, and writes `STEP.json` into --out
after every row. A second call skips the rows that are there and tries again those that failed. All
limits together are less than eight minutes; `memory` runs only when asked for. Wheels packed in
--wheels are used where they lie.
"""

import argparse
import sys
import time
from pathlib import Path

from gpu.plan import STEPS, by_name
from gpu.run import Day, run_all
from gpu.wheels import pack, unpack


def main() -> int:
    """Run, or be the child that runs one step."""
    given = arguments()
    if given.pack:
        pack(given.wheels, python=given.python, there=given.there)
        return 0
    if given.step:
        from gpu.child import run_checks, run_step

        if given.check:
            run_checks(given.check, rehearse=given.rehearse)
            return 0
        run_step(given.step, given.out, rehearse=given.rehearse, run=given.run)
        return 0
    day = Day(
        out=given.out,
        rehearse=given.rehearse,
        site=unpack(given.wheels),
        run=time.strftime("%Y-%m-%dT%H:%M:%S"),
    )
    return 0 if run_all(day, [by_name(name) for name in given.only]) else 1


def arguments() -> argparse.Namespace:
    """What the command was told."""
    names = [step.name for step in STEPS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    usual = [step.name for step in STEPS if not step.asked]
    parser.add_argument("--only", nargs="+", choices=names, default=usual)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--pack", action="store_true")
    parser.add_argument("--wheels", type=Path, default=Path("runs/wheels"))
    parser.add_argument("--python", default="3.12", help="version to pack wheels for")
    parser.add_argument(
        "--there",
        nargs="*",
        default=["torch", "triton", "numpy", "scipy", "pillow", "opencv-python-headless"],
        help="what that machine has, and is not packed",
    )
    parser.add_argument("--step", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--check", help=argparse.SUPPRESS)
    parser.add_argument("--run", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
