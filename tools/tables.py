"""Fill the tables of the documents from the measurements under benchmarks/results.

    python tools/tables.py            rewrite the documents
    python tools/tables.py --check    fail if a document differs from its measurements

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; `measured/` makes it.
"""

import re
import sys
from pathlib import Path

from measured import TABLES

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/**/*.md", "packages/*/README.md", "apps/*/README.md")
MARKER = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """Return a document with every table made anew."""
    return MARKER.sub(lambda m: f"{m[1]}{TABLES[m['name']]()}\n{m[3]}", text)


def main(*arguments: str) -> None:
    """Rewrite the documents, or check them."""
    for path in (p for pattern in DOCUMENTS for p in sorted(ROOT.glob(pattern))):
        before = path.read_text()
        after = filled(before)
        if after == before:
            continue
        if "--check" in arguments:
            sys.exit(f"{path} differs from its measurements: run python tools/tables.py")
        path.write_text(after)


if __name__ == "__main__":
    main(*sys.argv[1:])
