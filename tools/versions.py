"""Print the versions of what a distribution requires, as this environment has them.

python tools/versions.py sla-kernels
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version


def main(name: str) -> None:
    """One line."""
    lines = [line for line in requires(name) or () if "extra ==" not in line]
    names = [re.split(r"[^\w.-]", line)[0] for line in lines]
    print(f"python {sys.version.split()[0]}:", ", ".join(f"{n} {found(n)}" for n in names))


def found(name: str) -> str:
    """The installed version."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


if __name__ == "__main__":
    main(*sys.argv[1:])
