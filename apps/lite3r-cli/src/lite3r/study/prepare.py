"""Networks to be tried, made of one teacher whose weights all of them share."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

import fp8_qat
from lite3r.bench.quality import compared
from lite3r.student.compose import quantize
from lite3r.student.recipes import Recipe
from lite3r.study.candidates import Candidate, short
from recon_backbones import AttentionSite, Backbone, replace_attention
from sla_kernels import SparseLinearAttention, calibrated


def prepare(
    teacher: Backbone, candidates: Mapping[str, Candidate], seen: Sequence[Tensor]
) -> dict[str, Backbone]:
    """Make networks by name; the teacher stays as it is, and is the one without attention.

    - `seen`: images `v 3 y x` of scenes on which the axes of orders are calibrated.

    Raises ValueError where a candidate's attention cannot work.
    """
    return {name: _made(teacher, candidate, seen) for name, candidate in candidates.items()}


def alone(name: str, candidate: Candidate, teacher: Backbone) -> dict[str, Candidate]:
    """The candidate in one layer alone, for each of its layers, by name."""
    sites = [s.name for s in teacher.attention_sites() if s.scope in candidate.scopes]
    return {f"{name}, layer {short(s)} alone": replace(candidate, site=s) for s in sites}


def _made(teacher: Backbone, candidate: Candidate, seen: Sequence[Tensor]) -> Backbone:
    if candidate == Candidate():
        return teacher
    shared: dict[int, Any] = {id(p): p for p in teacher.requires_grad_(False).parameters()}
    network = copy.deepcopy(teacher, memo=shared if candidate.precision != "bfloat16" else None)
    if candidate.precision == "bfloat16":
        network.to(torch.bfloat16)
    if candidate.precision == "fp8":
        quantize(network, replace(Recipe(), fp8="rowwise"))
        fp8_qat.convert(network, backend="weight_only")
    if candidate.keep is None:
        return network
    network.set_token_order(candidate.token_order)
    replace_attention(
        network,
        lambda site: _core(site, candidate, network),
        where=lambda s: s.scope in candidate.scopes and candidate.site in (None, s.name),
    )
    if candidate.order == "content" and candidate.calibrated and seen:
        with calibrated(network), torch.inference_mode():
            for images in seen:
                compared(network, images[None])
    return network


def _core(site: AttentionSite, candidate: Candidate, network: Backbone) -> nn.Module:
    assert candidate.keep is not None
    core = SparseLinearAttention(
        site.head_dim,
        keep=candidate.keep,
        block=candidate.block,
        order=candidate.order,
        summary=candidate.summary or None,
        opened=candidate.opened,
        axes=candidate.axes,
        estimator=candidate.estimator,
        linear=None,
    )
    return core.to(next(network.parameters()).device)
