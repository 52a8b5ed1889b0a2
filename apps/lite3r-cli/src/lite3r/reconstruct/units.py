"""The unit of a reconstruction: what fixes it, one thing at a time, and what it then is."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from recon_backbones import Prediction
from recon_backbones.da3 import MonoDepthAnything3

from ..environment import pick_device
from ..photos import Batch
from ..student import TeacherSpec
from ..terminal import Terminal
from .consistency import agreeing_factor
from .gathering import Gathered
from .scale import KnownDistance, metric_by_network, parse_end, scale_from_distance

if TYPE_CHECKING:
    from ..commands.reconstruct import Reconstruct

OWN_UNIT = "the network's own"


def in_given_unit(
    prediction: Prediction, pictures: np.ndarray, terminal: Terminal
) -> tuple[Prediction, str]:
    """Depth in the unit of given cameras, by agreement between views where that is clear."""
    if prediction.metric:
        return prediction, "metres, as the network sees them"
    found = agreeing_factor(prediction, pictures)
    if not found.clear:
        terminal.say(
            "views do not tell the unit of depth, so it comes from the cameras that the network "
            "would have guessed"
        )
        return prediction, "that of the given cameras, as far as the network's guess goes"
    unit = f"that of the given cameras, in which views agree (times {found.factor:.3g})"
    return replace(prediction, depth=prediction.depth * found.factor), unit


def check_one_scale(options: "Reconstruct", gathered: Gathered) -> None:
    """Refuse, before the network runs, a scale beside that of given cameras."""
    for name in ("known_distance", "metric_model"):
        if gathered.cameras is not None and getattr(options, name) is not None:
            flag = "--" + name.replace("_", "-")
            raise ValueError(
                f"--cameras already give the scale, so {flag} contradicts them; leave one out"
            )


def metric(
    options: "Reconstruct",
    prediction: Prediction,
    gathered: Gathered,
    batch: Batch,
    terminal: Terminal,
) -> tuple[Prediction, str]:
    """The scene in metres where something tells how long they are, and what its unit is."""
    if options.known_distance is not None:
        first, second, metres = options.known_distance
        known = KnownDistance(first=parse_end(first), second=parse_end(second), metres=metres)
        factor = scale_from_distance(known, prediction, batch, gathered.names)
        unit = f"metres, from the known distance (times {factor:.4g})"
        return prediction.scaled(torch.tensor([factor])), unit
    if options.metric_model is not None:
        network = load_metric(options)
        with terminal.progress("seeing metres", len(batch.images)) as advance:
            found = metric_by_network(prediction, batch.images, network, advance=advance)
        return found, f"metres, as {network.name} sees them"
    return prediction, "metres, as the network sees them" if prediction.metric else OWN_UNIT


def load_metric(options: "Reconstruct") -> MonoDepthAnything3:
    """The metric network that was asked for. Raises ValueError for one of another kind."""
    spec = TeacherSpec(
        backbone=str(options.metric_model), weights=options.metric_weights, seed=options.seed
    )
    network = spec.load(device=pick_device(options.device))
    if not isinstance(network, MonoDepthAnything3):
        raise ValueError(
            f"{options.metric_model} sees no metric depth in single photos; --metric-model takes "
            "da3metric-large, or a network like it"
        )
    return network
