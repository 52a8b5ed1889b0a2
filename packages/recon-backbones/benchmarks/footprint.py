"""Measure what backbones hold: tokens between trunk and heads, builds without memory, mapped files.

    python packages/recon-backbones/benchmarks/footprint.py --out footprint.json

Token memory is counted at full size on the meta device, at 8 views of 518x518 in float32. The file
of the mapped load is written into a temporary folder with random weights (1.6 GB for da3-large) and
removed. Linux only: anonymous memory is read from /proc.
"""

import argparse
import ctypes
import json
import platform
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from machine import processor
from safetensors.torch import save_file
from torch import Tensor, nn

from recon_backbones import build_on_meta, load_backbone, replace_attention
from recon_backbones.da3 import DepthAnything3
from recon_backbones.vggt import Vggt

FULL_SIZE = (
    "da3-small",
    "da3-base",
    "da3-large",
    "da3-giant",
    "da3mono-large",
    "da3metric-large",
    "da3nested-giant-large",
    "vggt-1b",
)
VIEWS, SIDE = 8, 518


class Empty(nn.Module):
    """Stands in for attention, whose weights the meta device would otherwise write out."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, pinned: Tensor | None = None) -> Tensor:
        """Return nothing in the right shape."""
        return torch.empty_like(q)


def stored(tensors: Iterable[Tensor]) -> int:
    """Bytes of the memory behind tensors, each counted once."""
    unique = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(unique.values())


@torch.no_grad()
def token_bytes_per_view(name: str) -> float:
    """Bytes a view that the trunk hands to the heads."""
    backbone = build_on_meta(name)
    replace_attention(backbone, lambda site: Empty(), where=lambda site: True)
    images = torch.empty(1, VIEWS, 3, SIDE, SIDE, device="meta")
    if isinstance(backbone, Vggt):
        pairs = backbone.aggregator(images).pairs
        kept = [half for pair in pairs for half in (pair.frame, pair.spread)]
    else:
        assert isinstance(backbone, DepthAnything3)
        levels = backbone.model.backbone.pretrained(images).levels
        kept = [half for level in levels for half in (level.local, level.current)]
    return stored(kept) / VIEWS


def build_seconds(name: str) -> float:
    """Wall time of a build without memory for weights."""
    start = time.perf_counter()
    build_on_meta(name)
    return time.perf_counter() - start


def anonymous() -> int:
    """Bytes of memory of this process that no file backs."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return int(next(row for row in rows if row.startswith("RssAnon")).split()[1]) * 1024


def mapped_load(name: str) -> dict[str, Any]:
    """Bytes that loading a safetensors file adds beyond the file's own pages."""
    with tempfile.TemporaryDirectory() as folder:
        state = load_backbone(name, weights="random").state_dict()
        save_file(state, Path(folder) / "model.safetensors")
        size = sum(t.numel() * t.element_size() for t in state.values())
        del state
        ctypes.CDLL(None).malloc_trim(0)  # or the load could reuse what was freed, unseen
        before, start = anonymous(), time.perf_counter()
        backbone = load_backbone(name, weights=folder)
        seconds = time.perf_counter() - start
        grown = anonymous() - before
        del backbone
    return {
        "name": name,
        "weight_bytes": size,
        "anonymous_bytes_added": grown,
        "share_of_weights": grown / size,
        "seconds": seconds,
    }


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--load", default="da3-large", help="backbone of the mapped load")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    report = {
        "what": f"{VIEWS} views of {SIDE}x{SIDE}, float32",
        "torch": torch.__version__,
        "machine": platform.platform(),
        "processor": processor(),
        "token_bytes_per_view": {n: token_bytes_per_view(n) for n in ("vggt-1b", "da3-large")},
        "build_seconds": {name: build_seconds(name) for name in FULL_SIZE},
        "mapped_load": mapped_load(given.load),
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
