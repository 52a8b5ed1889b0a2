"""The unit of a reconstruction: what fixes it, one thing at a time, and what it then is."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from recon_backbones.da3.single import MonoDepthAnything3
from recon_backbones.errors import InputError
from recon_backbones.photos.prepare import Prepared
from recon_backbones.prediction import Prediction
from recon_backbones.telling import Telling
from recon_backbones.views.agreement import agreeing_factor
from recon_backbones.views.scale import KnownDistance, metric_by_network

OWN_UNIT = "the network's own"


@dataclass(frozen=True, kw_only=True)
class Meters:
    """What tells how long a meter is, if anything.

    - `distance`: a length that is known.
    - `network`: loads a network that sees meters; called when the scene has been seen. The network
      that saw it is the caller's, and stays in memory beside this one.

    Raises InputError when both are given.
    """

    distance: KnownDistance | None = None
    network: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        if self.distance is not None and self.network is not None:
            raise InputError("metric_model with known_distance; both give meters: give one of them")

    def check_free(self) -> None:
        """Refuse, before the network runs, a scale beside that of given cameras."""
        for name, given in (("known_distance", self.distance), ("metric_model", self.network)):
            if given is not None:
                raise InputError(
                    f"{name} with cameras; these already give the scale: leave one out"
                )


def seeing_meters(network: object) -> MonoDepthAnything3:
    """The network, if it sees meters. Raises InputError for one that does not."""
    if isinstance(network, MonoDepthAnything3):
        return network
    raise InputError(
        f"{getattr(network, 'name', type(network).__name__)} sees no metric depth in single "
        "photos; the unit comes from that: take da3metric-large, or a network like it"
    )


def in_given_unit(
    prediction: Prediction, pictures: UInt8[np.ndarray, "v y x 3"], telling: Telling
) -> tuple[Prediction, str]:
    """Depth in the unit of given cameras, by agreement between views where that is clear."""
    if prediction.metric:
        return prediction, "meters, as the network sees them"
    found = agreeing_factor(prediction, pictures)
    if not found.clear:
        telling.say(
            "views do not tell the unit of depth, so it comes from the cameras that the network "
            "would have guessed"
        )
        return prediction, "that of the given cameras, as far as the network's guess goes"
    unit = f"that of the given cameras, in which views agree (times {found.factor:.3g})"
    return replace(prediction, depth=prediction.depth * found.factor), unit


def in_meters(
    prediction: Prediction, batch: Prepared, meters: Meters, telling: Telling
) -> tuple[Prediction, str]:
    """The scene in meters where a network tells how long they are, and what its unit is.

    Raises InputError for a network that sees no meters.
    """
    if meters.network is not None:
        network = seeing_meters(meters.network())
        images = batch.images[0]
        with telling.progress("seeing meters", len(images)) as advance:
            found = metric_by_network(prediction, images, network, advance=advance)
        return found, f"meters, as {network.name} sees them"
    return prediction, "meters, as the network sees them" if prediction.metric else OWN_UNIT
