"""Put the coverage of a package beside that of the others, print all, and judge this one.

python tools/coverage_summary.py fp8-qat benchmarks/results/coverage.json

Ends with 1 where the package's tests take fewer of its branches than wanted.
"""

import json
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WANTED = 90.0  # percent of branches


def main(name: str, out: str) -> None:
    """Read `covered/NAME.json`, keep what other packages had before, write and print."""
    path = ROOT / out
    rows = json.loads(path.read_text(encoding="utf-8"))["packages"] if path.exists() else {}
    rows[name] = row(ROOT / "covered" / f"{name}.json")
    report = {"what": "coverage", "packages": dict(sorted(rows.items()))}
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for each, found in report["packages"].items():
        told = "" if found["branches_percent"] >= WANTED else f" (below {WANTED:.0f} %)"
        print(
            f"{each}: {found['branches_percent']:.1f} % of {found['branches']} branches, "
            f"{found['lines_percent']:.1f} % of {found['lines']} lines{told}"
        )
    sys.exit(rows[name]["branches_percent"] < WANTED)


def row(path: Path) -> dict[str, float | str]:
    """The numbers of a file, and of what they are."""
    total = json.loads(path.read_text(encoding="utf-8"))["totals"]
    words = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    return {
        "branches": total["num_branches"],
        "branches_percent": round(100 * total["covered_branches"] / total["num_branches"], 2),
        "lines": total["num_statements"],
        "lines_percent": round(100 * total["covered_lines"] / total["num_statements"], 2),
        "python": platform.python_version(),
        "commit": commit,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
