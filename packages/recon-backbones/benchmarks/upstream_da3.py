"""Compare Depth Anything 3 here with the public wheel: same weights, same images, one run.

Unpack the wheel with its two small pure-Python needs into a folder and name it:

    pip download --no-deps --dest wheels depth-anything-3==0.1.1
    pip install --no-deps --target upstream wheels/*.whl einops addict
    PYTHONPATH=upstream python packages/recon-backbones/benchmarks/upstream_da3.py --out da3.json

Everything else that the wheel imports is replaced by empty stand-ins: the network does not use it.
Outputs are compared before anything is timed. Times alternate between the two in one process;
each peak of memory is measured in a process of its own, beyond what is resident before the run.
"""

import argparse
import gc
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from machine import processor
from torch import Tensor, nn

from recon_backbones import load_backbone
from recon_backbones.da3 import DA3Config, DepthAnything3

STAND_INS = ("omegaconf", "evo", "evo.core", "evo.core.trajectory")
UPSTREAM_NAMES = {384: "vits", 768: "vitb", 1024: "vitl", 1536: "vitg"}
TOLERANCE = 3e-5


def upstream(config: DA3Config, weights: dict[str, Tensor]) -> nn.Module:
    """Build the wheel's network of the same sizes round the same tensors."""
    for name in STAND_INS:
        sys.modules.setdefault(name, MagicMock())
    from depth_anything_3.model.cam_dec import CameraDec
    from depth_anything_3.model.cam_enc import CameraEnc
    from depth_anything_3.model.da3 import DepthAnything3Net
    from depth_anything_3.model.dinov2.dinov2 import DinoV2
    from depth_anything_3.model.dualdpt import DualDPT

    width = 2 * config.embed_dim
    net = DepthAnything3Net(
        DinoV2(
            name=UPSTREAM_NAMES[config.embed_dim],
            out_layers=list(config.out_layers),
            alt_start=config.alt_start,
            qknorm_start=config.qknorm_start,
            rope_start=config.rope_start,
            cat_token=True,
        ),
        DualDPT(
            dim_in=width,
            output_dim=2,
            features=config.head_features,
            out_channels=list(config.head_out_channels),
        ),
        CameraDec(dim_in=width),
        CameraEnc(dim_out=config.embed_dim),
    )
    shared = {
        name.replace("output_conv2_aux.0.2.", f"output_conv2_aux.{level}.2."): tensor
        for name, tensor in weights.items()
        for level in range(4)
    }
    net.load_state_dict(shared, assign=True)
    return net.eval()


def runners(name: str) -> dict[str, Callable[[Tensor], Any]]:
    """Both networks on normalized images, around one set of weights."""
    backbone = load_backbone(name, weights="random")
    assert isinstance(backbone, DepthAnything3)
    theirs = upstream(backbone.config, backbone.model.state_dict())
    return {"here": backbone.model, "upstream": theirs}


def resident(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


@torch.no_grad()
def peak(name: str, which: str, images: Tensor) -> int:
    """Bytes that one run needs beyond what is resident before it."""
    run = runners(name)[which]
    run(images[..., :28, :28])
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the former peak
    before = resident("VmRSS")
    run(images)
    return resident("VmHWM") - before


@torch.no_grad()
def times(name: str, images: Tensor, repeats: int) -> dict[str, list[float]]:
    """CPU seconds of every run, alternating; refuses to time what does not match."""
    run = runners(name)
    ours, theirs = run["here"](images), run["upstream"](images)
    for a, b in ((ours.depth, theirs["depth"]), (ours.depth_conf, theirs["depth_conf"])):
        difference = ((a - b).abs().max() / b.abs().max()).item()
        if difference > TOLERANCE:
            raise ValueError(f"outputs differ by {difference:.1e}, more than {TOLERANCE}")
    spent: dict[str, list[float]] = {which: [] for which in run}
    for _ in range(repeats):
        for which, forward in run.items():
            start = time.process_time()
            forward(images)
            spent[which].append(time.process_time() - start)
    return spent


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="da3-large")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--size", type=int, default=252)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peak-of", choices=("here", "upstream"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    images = torch.rand(1, given.views, 3, given.size, given.size)
    if given.peak_of:
        given.out.write_text(str(peak(given.name, given.peak_of, images)))
        return
    peaks = {}
    for which in ("here", "upstream"):
        note = given.out.with_suffix(f".{which}")
        command = [sys.executable, *sys.argv, "--peak-of", which, "--out", str(note)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        peaks[which] = int(note.read_text())
        note.unlink()
    spent = times(given.name, images, given.repeats)
    median = {which: statistics.median(seconds) for which, seconds in spent.items()}
    report = {
        "what": f"{given.name}, {given.views} views of {given.size}x{given.size}, CPU float32",
        "torch": torch.__version__,
        "machine": platform.platform(),
        "processor": processor(),
        "threads": given.threads,
        "cpu_seconds": spent,
        "speedup": median["upstream"] / median["here"],
        "peak_bytes_beyond_weights": peaks,
        "memory_ratio": peaks["here"] / peaks["upstream"],
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    sys.stdout.write(
        f"speed {report['speedup']:.2f}x, memory {report['memory_ratio']:.2f}x of upstream\n"
    )


if __name__ == "__main__":
    main()
