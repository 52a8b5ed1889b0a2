"""Load an exported student in a fresh process and tell by how many bytes memory grew at most."""

import sys
from pathlib import Path

from lite3r.student.deploy import load


def peak() -> int:
    """Most bytes that this process has held; `resource` counts those of its parent as well."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    before = peak()
    load(sys.argv[1], precision="float32")
    print(peak() - before)
