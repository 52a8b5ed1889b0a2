r"""Hold predicted memory against what the system reports, in a fresh process for every case.

    python apps/lite3r-cli/benchmarks/memory_model.py --out benchmarks/results/memory-model.json

`allocator` is the peak of PyTorch's allocator beside weights and images, which the prediction
should meet to the byte but for buffers inside kernels; `resident` is the peak of the whole
process, which `--budget` promises to keep. Weights are random: memory does not depend on them.
"""

import argparse
import json
import resource
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lite3r.shell.environment import environment
from recon_backbones import load_backbone
from recon_backbones.machine.free import resident
from recon_backbones.views.memory import MARGINS, Work, footprint
from recon_eval import efficiency

CASES = (
    ("da3-tiny", Work(views=8, height=168, width=224)),
    ("da3-tiny", Work(views=8, height=168, width=224, head_chunk=1)),
    ("da3-tiny", Work(views=64, height=168, width=224)),
    ("da3-tiny", Work(views=16, height=378, width=504)),
    ("vggt-tiny", Work(views=16, height=168, width=224)),
    ("da3-small", Work(views=8, height=378, width=504)),
    ("da3-base", Work(views=8, height=168, width=224)),
)


def peak_resident() -> int:
    """The most bytes that this process has had in memory, on Linux."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def measure(name: str, work: Work, *, profiled: bool) -> int:
    """Bytes of one forward pass: the allocator's peak, or what the process grew by at its peak."""
    before = resident()
    backbone = load_backbone(name, weights="random")
    images = torch.rand(1, work.views, 3, work.height, work.width)

    def call() -> object:
        with torch.inference_mode():
            return backbone(images, head_chunk=work.head_chunk)

    if profiled:
        return efficiency.peak_memory(call).working_bytes
    call()
    return peak_resident() - before


def in_process(case: int, *, profiled: bool) -> int:
    """Run one measurement in a process of its own."""
    words = [sys.executable, __file__, "--case", str(case), *(["--profiled"] if profiled else [])]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(done.stdout)


def compare(case: int) -> dict[str, Any]:
    """One row: predicted and measured."""
    name, work = CASES[case]
    predicted = footprint(name, work)
    allocator, grown = (in_process(case, profiled=profiled) for profiled in (True, False))
    beside = grown - predicted.weights - predicted.inputs
    return {
        "backbone": name,
        **asdict(work),
        "predicted": asdict(predicted) | {"activations": predicted.activations},
        "predicted_total_bytes": predicted.total("cpu"),
        "allocator_bytes": allocator,
        "allocator_over_predicted": allocator / predicted.activations,
        "resident_bytes": grown,
        "resident_over_predicted": beside / predicted.activations,
        "kept": grown <= predicted.total("cpu"),
    }


def main() -> None:
    """Compare every case, and write the JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", type=int)
    parser.add_argument("--profiled", action="store_true")
    options = parser.parse_args()
    if options.case is not None:
        print(measure(*CASES[options.case], profiled=options.profiled))
        return
    found = {
        "format": "lite3r-memory-model/1",
        "margins": {kind: asdict(margin) for kind, margin in MARGINS.items()},
        "rows": [compare(case) for case in range(len(CASES))],
        "environment": environment(),
    }
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
