"""From a dense backbone to a light one: sparse attention, FP8 layers, and what may train.

A backbone (recon_backbones) gets the attention of sla_kernels and the linear layers of
fp8_qat; distill says which of its parameters train.
"""

import copy
import math
from collections.abc import Mapping
from contextlib import nullcontext
from fnmatch import fnmatchcase
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

import distill
import fp8_qat
import sla_kernels
from fp8_qat.layers.selection import select_layers
from lite3r.student.axes import Calibrate, find_axes, make_room, run_on, run_on_drawn
from lite3r.student.recipes import Recipe
from lite3r.student.student import Student, TeacherSpec
from recon_backbones import Backbone, replace_attention, weights_digest
from recon_backbones.views.live import count_inside

PROJECTION = "*.proj_l.*"
Moments = Mapping[str, Tensor]  # of the inputs of layers, by name

for _operator, _body in sla_kernels.bodies().items():
    count_inside(_operator, _body)  # a student's memory is predicted by what its attention does


def lighten(
    teacher: Backbone,
    recipe: Recipe | None = None,
    spec: TeacherSpec | None = None,
    *,
    calibrate: Calibrate | None = None,
) -> Student:
    """Make an untrained student; the teacher stays as it is.

    Where the teacher's own weights stay frozen they are shared with it until FP8 takes them
    over. Before training the linear branch and low-rank updates add nothing, so this is the
    training-free student.

    - `calibrate`: images that axes are computed from and roundings suit, or a callable that runs
      the backbone on some; a few drawn scenes unless given.

    Raises ValueError when the recipe names layers that the backbone does not have.
    """
    images = run_on_drawn if calibrate is None else calibrate
    return _lightened(teacher, recipe or Recipe(), spec, images)


def unread(teacher: Backbone, recipe: Recipe, spec: TeacherSpec) -> Student:
    """Make a student whose axes, all zero, wait to be read from a file."""
    return _lightened(teacher, recipe, spec, None)


def _lightened(
    teacher: Backbone, recipe: Recipe, spec: TeacherSpec | None, calibrate: Calibrate | None
) -> Student:
    spec = spec or TeacherSpec.of(teacher)
    digest = weights_digest(teacher)
    check_recipe(recipe, teacher)
    teacher.requires_grad_(False)
    # Where the teacher's own weights stay frozen, as matrices do beside gains.
    axes = {"none": 0, "proj": 0, "lora": 0, "gains": 2}.get(recipe.trainable, math.inf)
    shared = {id(p): p for p in teacher.parameters() if p.ndim >= axes}
    light = copy.deepcopy(teacher, memo=shared)
    sparsify(light, recipe)
    moments = None if calibrate is None else fit(light, recipe, calibrate, axes=recipe.calibrates)
    _choose_trained(light, recipe, moments)
    return Student(backbone=light.eval(), recipe=recipe, teacher=spec, weights_sha256=digest)


def check_recipe(recipe: Recipe, backbone: Backbone) -> None:
    """Raise ValueError for a recipe that names what a dense backbone does not have."""
    sites = [site for site in backbone.attention_sites() if site.scope in recipe.scopes]
    if not sites:
        raise ValueError(
            f"scope={recipe.scope}; {backbone.name} must have such attention: take another scope"
        )
    if len(recipe.keeps) not in (1, len(sites)):
        raise ValueError(
            f"keep={recipe.blocks}; {backbone.name} has {len(sites)} attentions that become "
            "sparse: give a number for each, or one for all"
        )
    widest = min(site.num_heads * site.head_dim for site in sites)
    if recipe.calibrates and recipe.axes > widest:
        raise ValueError(
            f"axes={recipe.axes}; keys of {backbone.name} have {widest} at most: 16 are usual"
        )
    if recipe.fp8 != "none":
        select_layers(backbone, **_quantized(recipe))


def sparsify(backbone: Backbone, recipe: Recipe) -> None:
    """Give a backbone the token order and the attention of a recipe, in place."""
    like = next(backbone.parameters())
    backbone.set_token_order(recipe.token_order)
    numbers = count()  # of sparse sites, in the order of the network
    with like.device:  # whatever device is the default
        replace_attention(
            backbone,
            lambda site: recipe.attention(site.head_dim, next(numbers)).to(like),
            where=lambda site: site.scope in recipe.scopes,
        )
    if recipe.calibrates:
        make_room(backbone, recipe)


def fit(backbone: Backbone, recipe: Recipe, images: Calibrate, *, axes: bool) -> Moments | None:
    """Find the axes of orders, in place, and what the layers are given that run in FP8."""
    chosen = _quantized(recipe)
    observed = fp8_qat.observed_inputs(backbone, **chosen) if recipe.observes else nullcontext()
    with observed as moments:
        if axes:
            find_axes(backbone, images, offsets=recipe.offsets)
        elif recipe.observes:
            run_on(images, backbone)
    return moments


def _quantized(recipe: Recipe) -> dict[str, Any]:
    """Which layers run in FP8; `proj_l` is part of the attention operator, not a layer."""

    def left_alone(name: str, layer: nn.Linear) -> bool:
        return ".core." in name or any(fnmatchcase(name, p) for p in recipe.fp8_exclude)

    return {"include": list(recipe.fp8_include), "exclude": left_alone}


def quantize(backbone: Backbone, recipe: Recipe, moments: Moments | None = None) -> fp8_qat.Handle:
    """Make the linear layers that a recipe names compute in FP8, in place, and keep what else it
    names as FP8; rounded to suit inputs of these moments."""
    fp8 = fp8_qat.recipes.by_name(recipe.fp8)
    handle = fp8_qat.prepare(backbone, fp8, moments=moments, **_quantized(recipe))
    if names := _stored(backbone, recipe, handle):
        fp8_qat.store(backbone, names)
    return handle


def _stored(backbone: Backbone, recipe: Recipe, handle: fp8_qat.Handle) -> list[str]:
    prepared = {f"{layer.name}.weight" for layer in handle.layers}
    held = [n for n, p in backbone.named_parameters() if p.ndim > 1 and n not in prepared]
    return [n for n in held if any(fnmatchcase(n, pattern) for pattern in recipe.fp8_stored)]


def _choose_trained(light: Backbone, recipe: Recipe, moments: Moments | None) -> None:
    """Let what the recipe trains train, and quantize: frozen layers for good, others as they go."""
    sites = [s.name for s in light.attention_sites() if s.scope in recipe.scopes]
    low_rank = recipe.trainable == "lora"
    if recipe.trainable == "none":
        light.requires_grad_(False)
    else:
        # A weight that gets an update must be quantized anew at every step, as a trained one is.
        distill.train_only(light, "attn" if low_rank else recipe.trainable, sites=sites)
    if recipe.fp8 != "none":
        quantize(light, recipe, moments)
    if low_rank:
        with torch.random.fork_rng():
            torch.manual_seed(0)  # one recipe is one student
            projection = None if recipe.linear == "none" else PROJECTION
            distill.train_only(
                light, "lora", sites=sites, projection=projection, rank=recipe.lora_rank
            )
