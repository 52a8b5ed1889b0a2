"""Put the coverage of every package that was measured into one file, print it, and judge it.

python tools/coverage_summary.py benchmarks/results/coverage.json
"""

import json
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WANTED = 90.0  # percent of branches


def main(out: str) -> None:
    """Read `coverage/*.json`, keep what other packages had before, write and print."""
    path = ROOT / out
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"packages": {}}
    rows = before["packages"] | dict(map(row, sorted((ROOT / "coverage").glob("*.json"))))
    words = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    kept = {"what": "coverage", "python": platform.python_version(), "commit": commit}
    path.write_text(json.dumps(kept | {"packages": rows}, indent=1) + "\n", encoding="utf-8")
    for name, found in sorted(rows.items()):
        told = "" if found["branches_percent"] >= WANTED else f" (below {WANTED:.0f} %)"
        print(
            f"{name}: {found['branches_percent']:.1f} % of {found['branches']} branches, "
            f"{found['lines_percent']:.1f} % of {found['lines']} lines{told}"
        )
    sys.exit(any(found["branches_percent"] < WANTED for found in rows.values()))


def row(path: Path) -> tuple[str, dict[str, float]]:
    """The package of a file, and its numbers."""
    total = json.loads(path.read_text(encoding="utf-8"))["totals"]
    return path.stem, {
        "branches": total["num_branches"],
        "branches_percent": round(100 * total["covered_branches"] / total["num_branches"], 2),
        "lines": total["num_statements"],
        "lines_percent": round(100 * total["covered_lines"] / total["num_statements"], 2),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
