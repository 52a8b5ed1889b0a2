"""`lite3r reconstruct` in a second, and what it left."""

import json
from pathlib import Path
from typing import Any

import numpy as np

NAMES = [f"Foto {number}.png" for number in range(4)]


def run(lite3r: Any, *words: str | Path, out: str = "out") -> Any:
    fast = ("--weights", "random", "--size", "56", "--formats", "npz", "--out", out)
    return lite3r("reconstruct", *words, *fast)


def arrays(out: str = "out") -> dict[str, np.ndarray]:
    with np.load(f"{out}/prediction.npz") as data:
        return {name: data[name] for name in data}


def facts(out: str = "out") -> dict[str, str]:
    return dict(json.loads(Path(out, "reconstruction.json").read_text())["facts"])
