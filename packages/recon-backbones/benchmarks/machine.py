"""What a measurement was made on."""

import platform
from pathlib import Path


def processor() -> str:
    """Model name of the processor, where Linux tells it."""
    rows = Path("/proc/cpuinfo").read_text().splitlines()
    named = (row.partition(":")[2].strip() for row in rows if row.startswith("model name"))
    return next(named, platform.processor())
