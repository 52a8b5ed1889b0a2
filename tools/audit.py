"""Ask for known faults of everything that an environment holds; say so where nobody answers.

python tools/audit.py PYTHON
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

OURS = {p.parent.name for p in Path(__file__).parents[1].glob("*/*/pyproject.toml")}


def main(python: str) -> None:
    """Print every fault; exit 1 where there is one, and 0 with a word where nobody answered."""
    words = [python, "-m", "pip", "list", "--format=json"]
    parts = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    lines = [
        f"{p['name']}=={p['version'].partition('+')[0]}" for p in parts if p["name"] not in OURS
    ]
    found = asked(lines)
    known = [part for part in found if "vulns" in part]
    for part in known:
        for fault in part["vulns"]:
            mended = ", ".join(fault["fix_versions"]) or "no version"
            print(f"{part['name']} {part['version']}: {fault['id']}, mended in {mended}")
    if len(known) < len(lines):
        print(f"not audited: {len(lines) - len(known)} of {len(lines)} parts got no answer")
    faults = sum(len(part["vulns"]) for part in known)
    print(f"{len(known)} parts audited, {faults} known faults")
    sys.exit(bool(faults))


def asked(lines: list[str]) -> list[dict[str, Any]]:
    """What pip-audit says of each part; nothing where it reached nobody."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "parts.txt"
        listed.write_text("\n".join(lines), encoding="utf-8")
        words = ["pip-audit", "--no-deps", "--disable-pip", "--timeout", "20", "-f", "json"]
        done = subprocess.run([*words, "-r", str(listed)], capture_output=True, text=True)
    try:
        said: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        print(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no answer")
        return []
    return said


if __name__ == "__main__":
    main(*sys.argv[1:])
