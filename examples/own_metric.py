"""A metric of your own, in a report with bootstrap intervals, beside the usual ones.

    python examples/own_metric.py [SCENES]

A result is anything with a protocol, numbers and provenance; nothing is registered.
"""

import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from recon_eval import Report, depth
from recon_eval.data import SyntheticScenes


@dataclass(frozen=True, kw_only=True)
class EdgeSharpness:
    """How much of the true jumps in depth a prediction has: 1 is all, 0 is none."""

    ratio: float
    pixels: int
    protocol: str = "depth/edges"

    def numbers(self) -> dict[str, float]:
        """Every number by its name."""
        return {"edge_sharpness": self.ratio}

    def provenance(self) -> dict[str, object]:
        """What the numbers rest on."""
        return {"pixels": self.pixels, "jump": "0.1 of the depth, to the right neighbor"}


def edge_sharpness(predicted: Tensor, truth: Tensor, valid: Tensor) -> EdgeSharpness:
    """Compare jumps in logarithmic depth, `v y x`, where the truth jumps."""
    both = valid[..., 1:] & valid[..., :-1]
    true, seen = (x.clamp_min(1e-6).log().diff(dim=-1) for x in (truth, predicted))
    jumps = both & (true.abs() > 0.1)
    found = (seen[jumps] / true[jumps]).clamp(0, 1)
    return EdgeSharpness(ratio=float(found.mean()), pixels=int(jumps.sum()))


def blurred(image: Tensor) -> Tensor:
    """A stand-in for a network: the truth, smoothed along rows."""
    padded = torch.nn.functional.pad(image[:, None], (2, 2, 0, 0), mode="replicate")
    return torch.nn.functional.avg_pool2d(padded, (1, 5), stride=1)[:, 0]


def main(scenes: str = "4") -> None:
    """Judge a blurred depth by AbsRel, which hardly minds, and by its edges."""
    if int(scenes) < 2:
        sys.exit(f"SCENES={scenes}; an interval over scenes needs at least 2: 4 are usual")
    report = Report(model="the truth, blurred", dataset="synthetic/test", seed=0)
    for scene in SyntheticScenes("test", count=int(scenes), views=2, height=48, width=64):
        assert scene.depth is not None and scene.valid is not None
        predicted = blurred(scene.depth)
        report.add(
            scene.name,
            depth.evaluate(predicted, scene.depth, scene.valid, alignment="median"),
            edge_sharpness(predicted, scene.depth, scene.valid),
        )
    for row in report.summary():
        if row.metric in ("abs_rel", "edge_sharpness"):
            print(f"{row.protocol} {row.metric}: {row.mean:.3f} ({row.low:.3f} to {row.high:.3f})")


if __name__ == "__main__":
    main(*sys.argv[1:])
