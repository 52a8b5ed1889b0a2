"""A backbone as an ONNX graph, for a fixed number of views of a fixed size."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from recon_backbones.backbone import Backbone, check_images
from recon_backbones.errors import InputError
from recon_backbones.program import FIELDS, Outputs, Shape, evaluated

NEEDED = ("onnx", "onnxscript", "onnxruntime")
KNOWN = ("aten", "prims", "prim", "_operator", "math", "builtins")  # where PyTorch's own live
TALKATIVE = ("torch.onnx", "onnxscript")  # loggers
LARGEST = 2 << 30  # bytes that one file of ONNX can hold; weights beyond lie beside it
ALLOWED = 1e-3  # of the median depth


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written.

    - `difference`: the largest between the graph's depths, as onnxruntime computes them, and the
      backbone's, on noise, as a share of the median depth.
    - `bytes`: of all its files.
    """

    path: Path
    difference: float
    bytes: int


def write_onnx(
    path: str | Path,
    backbone: Backbone,
    shape: Shape,
    *,
    allowed: float = ALLOWED,
) -> Written:
    """Write a backbone as an ONNX graph, read it by onnxruntime, and compare both.

    The graph takes `images` (1, views, 3, height, width) in [0, 1] and gives `program.FIELDS`, with
    the axes of `Prediction`. Views and size are fixed: attention over all views, grids of patches
    and positions are worked out for them. Weights above 2 GiB lie in a second file beside it. A
    link stays, and what it leads to is written.

    - `backbone`: on the CPU in float32; its attention may have been replaced.
    - `allowed`: the largest difference, as `Written` has it.

    Raises InputError where a package is missing, the shape does not fit, the backbone is of another
    type or elsewhere, its graph holds operators that ONNX does not know, or the graph strays.
    """
    given, path = Path(path), Path(os.path.realpath(path))
    check_packages()
    like = next(backbone.parameters())
    if like.dtype != torch.float32 or like.device.type != "cpu":
        raise InputError(
            f"backbone={like.dtype} on {like.device}; it must be torch.float32 on cpu to become "
            "ONNX: give backbone.float().cpu(); runtimes convert graphs to half precision"
        )
    size = (1, shape.views, 3, shape.height, shape.width)
    images = torch.rand(
        size, generator=torch.Generator().manual_seed(0), dtype=like.dtype, device="cpu"
    )
    try:
        check_images(images, backbone.patch_size)
    except ValueError as error:
        raise InputError(str(error)) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with evaluated(backbone) as whole, torch.no_grad():
        expected = whole(images)[0]
        graph = _graph(whole, images)
    with TemporaryDirectory(prefix="onnx-", dir=path.parent) as folder:
        made = _written(graph, images, Path(folder) / path.name)
        found = torch.from_numpy(_ran(made, images))
        difference = float((found - expected).abs().max() / expected.median())
        if not difference <= allowed:
            raise InputError(
                f"difference={difference:.3g}; the graph's depths must be within {allowed:g} of "
                "the backbone's, as a share of the median: use torch.export programs instead"
            )
        files = sorted(Path(folder).iterdir())
        total = sum(file.stat().st_size for file in files)
        for file in files:
            file.replace(path.parent / file.name)
    return Written(path=given, difference=difference, bytes=total)


def check_packages() -> None:
    """Raise InputError where a package that writes or checks ONNX is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"onnx={', '.join(missing)} missing; writing ONNX needs {', '.join(NEEDED)}: "
            f"pip install {' '.join(missing)}"
        )


def _graph(whole: Outputs, images: Tensor) -> torch.export.ExportedProgram:
    """The traced graph, in operators that are PyTorch's own."""
    traced = torch.export.export(whole, (images,), strict=False)
    foreign = sorted(
        {
            str(node.target)
            for part in traced.graph_module.modules()
            if isinstance(part, torch.fx.GraphModule)
            for node in part.graph.nodes
            if node.op == "call_function" and _home(node.target) not in KNOWN
        }
    )
    if foreign:
        raise InputError(
            f"operators={', '.join(foreign[:4])}; a graph of ONNX must hold PyTorch's own alone: "
            "write them out in those while this runs, put dense attention back "
            "(replace_attention), or use torch.export programs, which keep any operator"
        )
    return traced


def _home(target: Any) -> str:
    """The namespace of an operator; those that run a graph inside are PyTorch's own."""
    if isinstance(target, torch._ops.HigherOrderOperator):
        return KNOWN[0]
    space = getattr(target, "namespace", None)
    return str(space or getattr(target, "__module__", "").split(".")[0])


def _written(graph: torch.export.ExportedProgram, images: Tensor, path: Path) -> Path:
    size = sum(tensor.numel() * tensor.element_size() for tensor in graph.state_dict.values())
    try:
        with _without_warnings():
            torch.onnx.export(
                graph,
                (images,),
                path,
                dynamo=True,
                input_names=["images"],
                output_names=list(FIELDS),
                external_data=size >= LARGEST,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0][:200]
        raise InputError(
            f"onnx={reason}; each operator of the graph must be one that ONNX knows: put dense "
            "attention back (replace_attention), or use torch.export programs"
        ) from error
    return path


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Leave out what exporters say of themselves: what they wrote is compared, and errors raise."""
    levels = {logger: logger.level for logger in map(logging.getLogger, TALKATIVE)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in levels:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in levels.items():
                logger.setLevel(level)


def _ran(path: Path, images: Tensor) -> Any:
    """The depth that onnxruntime computes on the CPU."""
    session = import_module("onnxruntime").InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    return session.run(["depth"], {"images": images.numpy()})[0]
