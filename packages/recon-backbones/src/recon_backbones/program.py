"""A backbone as one `torch.export` program, for a fixed number of views of a fixed size.

The program holds weights and graph, and none of this code. Operators that are registered with
PyTorch, as those of another attention, stay single ones; what registers them must be imported
before a program that holds them is loaded.
"""

import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.backbone import Backbone, check_images
from recon_backbones.checks import check_device
from recon_backbones.errors import InputError
from recon_backbones.prediction import Prediction

PROGRAM, FACTS = "program.pt2", "lite3r.json"
FORMAT = "lite3r-program/1"
LARGEST_DIFFERENCE = 1e-3
AS_ROUNDING = 4.0
"""So many times the change that rounding the images alone makes is no fault of a program."""
FIELDS = ("depth", "depth_conf", "world_to_camera", "intrinsics")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a program takes: one scene of so many views, in pixels.

    Raises InputError for what is less than one.
    """

    views: int
    height: int
    width: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise InputError(f"{name}={value}; it must be at least 1: give more")


class Outputs(nn.Module):
    """A backbone that answers with plain tensors, `FIELDS` in turn, as a program must."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Float[Tensor, "1 v 3 y x"]) -> tuple[Tensor, ...]:
        """Depth and cameras of one scene."""
        prediction = self.backbone(images)
        return tuple(getattr(prediction, name) for name in FIELDS)


@contextmanager
def evaluated(backbone: Backbone) -> Iterator[Outputs]:
    """The backbone as plain tensors in evaluation mode; it is in its own modes again after it."""
    modes = [(part, part.training) for part in backbone.modules()]
    try:
        yield Outputs(backbone).eval()
    finally:
        for part, mode in modes:
            part.training = mode


@dataclass(frozen=True, kw_only=True)
class Program:
    """A loaded program; call it with images."""

    module: nn.Module
    shape: Shape
    facts: Mapping[str, Any]

    def __call__(self, images: Float[Tensor, "v 3 y x"]) -> Prediction:
        """Depth and cameras of one scene, of images in [0, 1], of any floating type.

        Raises ValueError when the images are not of the shape or on the device that the program
        was made for, and as `check_images` does.
        """
        shape = self.shape
        if tuple(images.shape) != (shape.views, 3, shape.height, shape.width):
            raise ValueError(
                f"images have shape {tuple(images.shape)}; this program takes {shape.views} views "
                f"of {shape.width} x {shape.height} pixels: write another, or use the backbone"
            )
        check_images(images[None], 1)
        check_device(images, "images", self._input.device, "the program")
        with torch.inference_mode():
            found = self.module(images[None].to(self._input.dtype))
        return Prediction(**dict(zip(FIELDS, found, strict=True)))

    @property
    def _input(self) -> Tensor:
        """What the program was traced with, without data."""
        assert isinstance(self.module, torch.fx.GraphModule)
        traced = next(node for node in self.module.graph.nodes if node.op == "placeholder")
        like: Tensor = traced.meta["val"]
        return like


def write_program(path: Path, backbone: Backbone, shape: Shape, facts: Mapping[str, Any]) -> float:
    """Trace a backbone, write the program, read it back, and compare it with the backbone.

    A link stays, and what it leads to is written.

    Returns the largest difference between the depths of both, on noise, as a share of the median
    depth: linear layers may sum in another order, so it need not be zero. Attention that chooses
    what it attends, and so may choose otherwise for a last digit, is held against what rounding
    the images does to the backbone itself.
    Raises ValueError when the shape does not fit the backbone, or when the program strays.
    """
    device = next(backbone.parameters()).device
    like = next(backbone.parameters()).dtype
    generator = torch.Generator().manual_seed(0)
    size = (1, shape.views, 3, shape.height, shape.width)
    images = torch.rand(size, generator=generator, dtype=torch.float32, device="cpu")
    images = images.to(device=device, dtype=like)
    told = dict(facts) | {"format": FORMAT, "shape": asdict(shape), "device": device.type}
    with evaluated(backbone) as whole, torch.no_grad():
        expected = backbone(images).depth
        nudged = backbone(images * (1 - torch.finfo(like).eps)).depth
        traced = torch.export.export(whole, (images,), strict=False)
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as beside:
        partial = Path(beside) / path.name
        torch.export.save(traced, partial, extra_files={FACTS: json.dumps(told)})
        found = load_program(partial)(images[0]).depth
        difference, own = (_apart(depth, expected) for depth in (found, nudged))
        allowed = max(LARGEST_DIFFERENCE, AS_ROUNDING * own)
        if not difference <= allowed:
            raise ValueError(
                f"the program strays by {difference:.3g} of the median depth from the "
                f"backbone; {allowed:.3g} is allowed: write it on the device that "
                "it was loaded on, or report it"
            )
        os.replace(partial, path)
    return difference


def _apart(depth: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the median depth."""
    return float((depth - expected).abs().max() / expected.median())


def load_program(path: str | Path) -> Program:
    """Read a program that `write_program` wrote.

    Load programs that you trust: a .pt2 file holds code for PyTorch to run.
    Raises ValueError when the file is missing or no such program.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"{path} is no file; it must be a program: write_program (lite3r export --kind "
            f"program) makes one, as {PROGRAM}"
        )
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no program; it is no archive: write_program makes one")
    extra = {FACTS: ""}
    try:
        loaded = torch.export.load(path, extra_files=extra)
        facts = json.loads(extra[FACTS])
        shape = Shape(**facts["shape"])
    except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{path} is no program; {error}: write_program makes one") from error
    return Program(module=loaded.module(), shape=shape, facts=facts)
