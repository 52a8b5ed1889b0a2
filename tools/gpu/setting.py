"""What a step runs on."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a step runs on: `step` is its name, and a rehearsal is tiny and on the CPU."""

    step: str
    device: str
    rehearse: bool
    out: Path
