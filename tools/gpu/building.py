"""Backbones with random weights, and the forms of them that are compared."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import nn

import fp8_qat
import sla_kernels
from gpu.setting import Setting
from lite3r.student.axes import find_axes
from lite3r.student.compose import quantize, sparsify
from lite3r.student.deploy import join_steps
from lite3r.student.recipes import Recipe, balanced
from recon_backbones import Backbone, compile_blocks
from recon_backbones.blocks.transformer import Block
from recon_backbones.registry import backbone_entry

VARIANTS = (
    "dense bfloat16, compiled",
    "ours, compiled",
    "ours + FP8, compiled",
    "dense bfloat16, captured",
    "ours, captured",
    "ours + FP8, captured",
    "dense bfloat16",
    "ours",
    "ours + FP8",
)
"""Captured: compiled, and one CUDA graph for each shape."""
CAPTURED = tuple(name for name in VARIANTS if name.endswith(", captured"))
COMPILED = tuple(name for name in VARIANTS if name.endswith(("compiled", "captured")))
KINDS = 64  # graphs of one block's code: kinds of blocks, times variants
EAGER = tuple(name for name in VARIANTS if name not in COMPILED)


def dense(name: str, device: str) -> Backbone:
    """The network in bfloat16, its random weights drawn on the device."""
    with torch.device(device):
        backbone = backbone_entry(name).build()
    backbone.init_weights()
    return backbone.to(device=device, dtype=torch.bfloat16).eval().requires_grad_(False)


def recipe(setting: Setting) -> Recipe:
    """The balanced recipe; in a rehearsal with lists short enough for few tokens."""
    if not setting.rehearse:
        return balanced()
    return replace(balanced(), keep=2, block=(16, 4), summary=(4, 16), opened=2, axes=4)


def variant(what: str, base: Backbone, setting: Setting) -> nn.Module:
    """One of VARIANTS, as it is deployed; weights that stay as they are are shared with `base`."""
    shared: dict[int, Any] = {id(p): p for p in base.parameters()}
    model = copy.deepcopy(base, memo=shared)
    if what.startswith("ours"):
        sparsify(model, recipe(setting))
        sla_kernels.attend_all_below(model, sla_kernels.short_on(setting.device))
        find_axes(model, torch.rand(1, 2, 3, 8 * base.patch_size, 8 * base.patch_size))
    if "FP8" in what:
        quantize(model, recipe(setting))
        report = fp8_qat.convert(model, backend="weight_only" if setting.rehearse else "scaled_mm")
        if report.backend == "scaled_mm":
            join_steps(model, report)
    if what in COMPILED:
        backend = "eager" if setting.rehearse else "inductor"
        torch._dynamo.config.recompile_limit = KINDS
        compile_blocks(model, backend=backend)
    return model


def blocks(model: nn.Module) -> list[Block]:
    """The transformer blocks: compiled one by one, they share their code."""
    return [part for part in model.modules() if isinstance(part, Block)]


def blocks_compiled(model: nn.Module) -> int:
    """How many blocks run compiled."""
    return sum(block._compiled_call_impl is not None for block in blocks(model))
