"""What every table needs: its file, its Markdown, and the machine."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
MIB = 2**20


def load(name: str) -> dict[str, Any]:
    """Read one file of measurements."""
    return json.loads((RESULTS / name).read_text())


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Lay out a Markdown table."""
    names = list(header)
    lines = ["| " + " | ".join(cells) + " |" for cells in (names, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(names), *lines[1:]])


def where(environment: dict[str, Any]) -> str:
    """Say what the numbers were measured on."""
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
    machine = environment["gpu"] or f"{environment['processor']}, {environment['cores']} cores"
    return f"Measured on {machine}; {versions}."


def machine(found: dict[str, Any]) -> str:
    """Say what a package alone was measured on."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"Measured on {found['gpu'] or found['cpu']}, {found['threads']} threads; {versions}."
