"""Ask for known faults of everything that an environment holds; say so where nobody answers.

python tools/audit.py PYTHON
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

OURS = {p.parent.name for p in Path(__file__).parents[1].glob("*/*/pyproject.toml")}
OFFLINE = ("ConnectionError", "connection", "ServiceError", "Max retries", "timed out", "resolve")


def main(python: str) -> None:
    """Print every fault; exit 1 where there is one, and 0 with a word where nobody was reached."""
    words = [python, "-m", "pip", "list", "--format=json"]
    parts = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    lines = [
        f"{p['name']}=={p['version'].partition('+')[0]}" for p in parts if p["name"] not in OURS
    ]
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "parts.txt"
        listed.write_text("\n".join(lines), encoding="utf-8")
        asked = ["pip-audit", "--no-deps", "--disable-pip", "--timeout", "20", "-r", str(listed)]
        done = subprocess.run(asked, capture_output=True, text=True)
    print(done.stdout, end="")
    if done.returncode and not done.stdout and any(word in done.stderr for word in OFFLINE):
        print(f"not audited: the advisory database was not reached; {len(lines)} parts wait for it")
        return
    print(done.stderr, end="", file=sys.stderr)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main(*sys.argv[1:])
