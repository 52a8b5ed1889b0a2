"""Six common choices of what trains."""

from collections.abc import Sequence
from typing import Literal, get_args

from torch import nn

from distill.record.names import find_module, matching
from distill.trainable.freeze import TrainableReport, freeze_except
from distill.trainable.lora import add_lora

Preset = Literal["proj", "out", "gains", "attn", "lora", "all"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
UPDATES = "*.parametrizations.weight.0.*"


def train_only(
    model: nn.Module,
    preset: Preset,
    *,
    sites: Sequence[str] = (),
    projection: str | None = "*.proj_l.*",
    rank: int = 8,
    scale: float = 1.0,
    last: str = "proj",
) -> TrainableReport:
    """Let a named choice of parameters train.

    "proj" trains the projections of the linear branch alone (Lite3R's choice); "out" the layers
    that the attention sites end with; "gains" the biases, norms and scales of the blocks around
    them and of those between, a few numbers a channel, and no matrix; "attn" every parameter of
    these sites; "lora" the projections and a low-rank update of the sites' other linear layers;
    "all" everything.

    - `model`: changed in place.
    - `preset`: the choice.
    - `sites`: dotted names of the attention modules, for "out", "gains", "attn" and "lora".
    - `projection`: pattern of the projections' parameters; None where there are none.
    - `rank`: rank of the updates.
    - `scale`: factor of the updates.
    - `last`: name of the layer that a site ends with, for "out".

    Raises ValueError if the preset is unknown, a site does not exist, "out", "gains", "attn" or
    "lora" has no sites, or there are no projections.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r}; it must be known: choose {', '.join(PRESETS)}")
    if preset == "proj":
        if projection is None:
            raise ValueError("projection=None; preset 'proj' trains projections: give a pattern")
        return freeze_except(model, projection)
    if preset == "all":
        return freeze_except(model, "*")
    if not sites:
        raise ValueError(
            f"sites=(); preset {preset!r} needs the names of the attention modules: give `sites`"
        )
    for site in sites:
        find_module(model, site, "student")
    if preset == "out":
        return freeze_except(model, [f"{site}.{last}.*" for site in sites])
    if preset == "gains":
        return freeze_except(model, _gains(model, sites))
    if preset == "attn":
        return freeze_except(model, [f"{site}.*" for site in sites])
    add_lora(model, _plain_layers(model, sites, projection), rank=rank, scale=scale)
    return freeze_except(model, [UPDATES] if projection is None else [projection, UPDATES])


def _gains(model: nn.Module, sites: Sequence[str]) -> list[str]:
    """Parameters with one axis in the blocks that hold sites, or stand between in the same list."""
    blocks = {site.rpartition(".")[0] for site in sites}
    numbered = [block.rpartition(".") for block in blocks if block.rpartition(".")[2].isdigit()]
    for place in {place for place, _, _ in numbered}:
        numbers = [int(number) for here, _, number in numbered if here == place]
        blocks |= {f"{place}.{number}" for number in range(min(numbers), max(numbers))}
    inside = tuple(f"{block}." for block in blocks)
    return [n for n, p in model.named_parameters() if p.ndim == 1 and n.startswith(inside)]


def _plain_layers(model: nn.Module, sites: Sequence[str], projection: str | None) -> list[str]:
    parameters = dict(model.named_parameters())
    projections = () if projection is None else matching(parameters, [projection], "parameter")
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and any(name.startswith(f"{site}.") for site in sites)
        and f"{name}.weight" not in projections
    ]
