"""Plan large scenes for GPUs that need not be here: predicted memory, and what is given up.

    python packages/recon-backbones/benchmarks/plans.py --out memory-plans.json

Nothing is run and no weights are made; see `recon_backbones.views.memory`.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from recon_backbones import Memory
from recon_backbones.views.memory import MARGINS
from recon_backbones.views.plan import Situation, make_plan

SCENES = (("vggt-1b", 300, "24GB"), ("vggt-1b", 1000, "48GB"), ("vggt-1b", 1000, "32GB"))
SIDE = 518


def planned(name: str, views: int, budget: str) -> dict[str, Any]:
    """One scene of square photos, in bfloat16."""
    situation = Situation(
        backbone=name, views=views, height=SIDE, width=SIDE, device="cuda", held=0
    )
    plan = make_plan(Memory(budget=budget, precision="bfloat16"), situation)
    row = {"backbone": name, "views": views, "side": SIDE, "budget": budget}
    return row | {"plan": asdict(plan), "in_words": plan.describe(), "predicted": True}


def main() -> None:
    """Plan and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    report = {
        "what": "plans from predicted memory; nothing was measured",
        "margin": asdict(MARGINS["cuda"]),
        "torch": torch.__version__,
        "plans": [planned(*scene) for scene in SCENES],
    }
    given.out.write_text(json.dumps(report, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
