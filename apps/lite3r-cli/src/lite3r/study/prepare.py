"""Networks to be tried, made of one teacher whose weights all of them share."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import fp8_qat
from lite3r.student.axes import Calibrate
from lite3r.student.compose import fit, quantize, sparsify
from lite3r.study.candidates import DENSE, Candidate, short
from recon_backbones import Backbone, replace_attention, weights_digest
from recon_eval.ablation import alone_row
from recon_eval.report import Kept
from sla_kernels import change_dtype, forget_calibration


def kept_on(teacher: Backbone, path: Path, what: str, *, anew: bool, **setting: Any) -> Kept:
    """Measurements on a teacher as a file keeps them; with `anew` the first save replaces it.

    Raises ValueError for a file of something else, or of other weights or settings.
    """
    return Kept(path, what, {"weights_sha256": weights_digest(teacher), **setting}, anew=anew)


def alone(name: str, candidate: Candidate, teacher: Backbone) -> dict[str, Candidate]:
    """The candidate in one layer alone, for each of its layers, by name."""
    sites = [s.name for s in teacher.attention_sites() if s.scope in candidate.recipe.scopes]
    return {alone_row(name, short(s)): replace(candidate, site=s) for s in sites}


def make(teacher: Backbone, candidate: Candidate, seen: Calibrate) -> Backbone:
    """Make one network; the teacher stays as it is, shares its weights, and is the dense one.

    - `seen`: what orders and their summaries are calibrated on.
    """
    if candidate == DENSE:
        return teacher
    shared = {id(p): p for p in teacher.requires_grad_(False).parameters()}
    network: Backbone = copy.deepcopy(teacher, memo=dict(shared))
    recipe = candidate.recipe
    if candidate.sparse:
        sparsify(network, recipe)
        if candidate.site is not None:
            replace_attention(
                network,
                lambda site: teacher.get_submodule(f"{site.name}.core"),
                where=lambda site: site.name != candidate.site,
            )
        forget_calibration(network)
    axes = candidate.sparse and recipe.calibrates and candidate.calibrated
    moments = fit(network, recipe, seen, axes=axes)
    if recipe.fp8 != "none":
        quantize(network, recipe, moments)
        fp8_qat.convert(network, backend=candidate.backend)
    if candidate.precision == "bfloat16":
        change_dtype(network, torch.bfloat16)
    return network
