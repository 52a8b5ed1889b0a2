"""Sizes that make no network are refused by name, in every family alike."""

from dataclasses import replace
from typing import Any

import pytest

from recon_backbones.da3 import da3_tiny
from recon_backbones.da3.single import da3metric_tiny
from recon_backbones.vggt import vggt_tiny

EVERY = (da3_tiny, da3metric_tiny, vggt_tiny)


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"num_heads": 5}, "num_heads=5; it must divide"),
        ({"num_heads": 0}, "num_heads=0; it must divide"),
        ({"out_layers": (0, 1, 2, 99)}, "ascend below depth"),
        ({"out_layers": (-1, 1, 2, 3)}, "ascend below depth"),
        ({"out_layers": (0, 2, 1, 3)}, "ascend below depth"),
    ],
)
def test_sizes_of_every_family_are_checked(make: Any, change: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        replace(make(), **change)


@pytest.mark.parametrize("make", [da3_tiny, vggt_tiny])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"num_heads": 32}, "multiple of 4"),
        ({"head_features": 20}, "head channels=10"),
        ({"head_out_channels": (24, 46, 96, 96)}, "head channels=46"),
        ({"camera_heads": 7, "cam_enc_heads": 7}, "must divide"),
    ],
)
def test_rotation_and_sincos_maps_need_multiples_of_four(
    make: Any, change: Any, match: str
) -> None:
    config = make()
    known = {name: value for name, value in change.items() if hasattr(config, name)}
    with pytest.raises(ValueError, match=match):
        replace(config, **known)


def test_what_only_one_family_has_is_checked() -> None:
    with pytest.raises(ValueError, match="alt_start=0"):
        replace(da3_tiny(), alt_start=0)
    with pytest.raises(ValueError, match="canonical_focal"):
        replace(da3metric_tiny(), canonical_focal=0.0)
