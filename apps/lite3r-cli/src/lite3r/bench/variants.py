"""The rows of a benchmark: what runs, and why it cannot run here."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch

import fp8_qat
from lite3r.student.compose import lighten, quantize
from lite3r.student.deploy import deploy
from lite3r.student.kinds import Backend, Precision
from lite3r.student.recipes import Recipe
from recon_backbones import Backbone
from recon_backbones.da3.upstream import upstream
from recon_eval.efficiency import Variant
from recon_eval.efficiency.variants import Build

PRECISION: dict[torch.dtype, Precision] = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def variants(
    backbone: str, recipe: Recipe, *, device: str, backend: Backend = "auto", with_compile: bool
) -> list[Variant]:
    """Dense float32 (the paper's baseline), dense bfloat16, the parts of the student, upstream.

    - `backend`: what multiplies FP8; "auto" is "scaled_mm", whose rows say where it cannot run.
    """
    bfloat16 = partial(Variant, dtype="bfloat16")
    sparse = _light(replace(recipe, fp8="none"))
    found = [
        Variant(name="dense float32", dtype="float32", build=_same, twin=_same),
        bfloat16(name="dense bfloat16", build=_same, twin=_same),
        bfloat16(name="SLA bfloat16", build=sparse, twin=sparse),
    ]
    if recipe.fp8 != "none":
        used: Backend = "scaled_mm" if backend == "auto" else backend
        able = used != "scaled_mm" or fp8_qat.multiplies_fp8(torch.device(device))
        why = None if able else f"{device} multiplies no FP8"
        found += [
            bfloat16(name=name, build=make(recipe, used), twin=make(recipe, None), missing=why)
            for name, make in (("FP8", _quantized), ("SLA + FP8", _light))
        ]
    if with_compile:
        found += [
            replace(v, name=f"{v.name}, compiled", build=_compiled(v.build), compiled=True)
            for v in found
            if v.name in ("dense bfloat16", "SLA bfloat16", "SLA + FP8")
        ]
    if backbone.startswith("da3"):
        build, why = upstream(backbone)
        name = "upstream DA3, autocast"
        found.append(bfloat16(name=name, build=build, twin=_same, missing=why))
    return found


def _same(backbone: Backbone) -> Backbone:
    return backbone


def _compiled(build: Build) -> Build:
    def compiled(backbone: Backbone) -> Any:
        model = build(backbone)
        model.compile()
        return model

    return compiled


def _light(recipe: Recipe, backend: Backend | None = None) -> Build:
    def build(backbone: Backbone) -> Backbone:
        student = lighten(backbone, recipe)
        if backend is not None:
            like = next(backbone.parameters()).dtype
            deploy(student, backend=backend, precision=PRECISION[like])
        return student.backbone

    return build


def _quantized(recipe: Recipe, backend: Backend | None) -> Build:
    def build(backbone: Backbone) -> Backbone:
        quantize(backbone.requires_grad_(False), recipe)
        if backend is not None:
            fp8_qat.convert(backbone, backend=backend)
        return backbone

    return build
