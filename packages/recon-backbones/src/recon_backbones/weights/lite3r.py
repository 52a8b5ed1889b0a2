"""Official Lite3R checkpoints: a whole backbone with one projection in every attention."""

import re
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from recon_backbones.backbone import Backbone
from recon_backbones.weights.checkpoint import find_checkpoint, fit, read_state

_PROJECTION = re.compile(r"(.+\.attn)\.proj_lin\.weight")


@dataclass(frozen=True, kw_only=True)
class Lite3RWeights:
    """What an official checkpoint adds to its backbone, in the form of sparse linear attention.

    `projections` maps the name of an attention site to the weight of its linear branch, in and out
    of one head's width and shared by the heads. The other fields say what they were trained with.
    """

    projections: dict[str, Float[Tensor, "d d"]]
    feature_map: str = "elu1"
    linear: str = "all"
    keep: float = 0.3

    def adapter(self) -> dict[str, Tensor]:
        """State-dict entries of cores with a projection `proj_l`; official ones have no bias."""
        state = {}
        for site, weight in self.projections.items():
            state[f"{site}.core.proj_l.weight"] = weight
            state[f"{site}.core.proj_l.bias"] = weight.new_zeros(len(weight))
        return state


def import_lite3r(path: str | Path, backbone: Backbone) -> Lite3RWeights:
    """Put an official checkpoint's backbone into `backbone` and return its projections.

    The file is `vggt_fp8_qat_1ep.pt`, `da3_fp8_qat_1ep.pt` or one laid out like them: the names of
    the public backbone and `<attention>.proj_lin.weight`. Source: arXiv 2605.11354 and its code.
    `backbone.weights` is None after it: the weights are no longer those that were loaded.

    Raises ValueError if the file is damaged, holds no projection, or does not fit the backbone.
    """
    file = find_checkpoint(Path(path))
    state = {name.removeprefix("module."): tensor for name, tensor in read_state(file).items()}
    state = backbone.convert_names(state)
    found = {match[1]: match[0] for name in state if (match := _PROJECTION.fullmatch(name))}
    if not found:
        raise ValueError(
            f"{file} holds no proj_lin.weight; a checkpoint of Lite3R has some: load a plain "
            "backbone by load_backbone"
        )
    projections = {site: state.pop(name) for site, name in found.items()}
    widths = {site.name: site.head_dim for site in backbone.attention_sites()}
    for site, weight in projections.items():
        expected = (widths[site], widths[site]) if site in widths else "no projection there"
        if tuple(weight.shape) != expected:
            raise ValueError(
                f"{file}: {found[site]} is {tuple(weight.shape)}; {backbone.name} expects "
                f"{expected}: load it into the backbone that it was made for"
            )
    like = next(backbone.parameters())
    fit(backbone, state, source=str(file))
    backbone.weights = None  # nothing that `load_backbone` takes gives them again
    backbone.to(device=like.device, dtype=like.dtype)
    moved = {site: weight.to(like.device, like.dtype) for site, weight in projections.items()}
    return Lite3RWeights(projections=moved)
