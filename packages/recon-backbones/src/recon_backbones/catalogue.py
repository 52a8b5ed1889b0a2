"""The backbones that come with this package, with the home and the licence of their weights."""

from collections.abc import Callable

from .da3.backbone import DepthAnything3
from .da3.config import DA3Config, da3_base, da3_giant, da3_large, da3_small, da3_tiny
from .registry import BackboneEntry, register_backbone
from .vggt.backbone import Vggt
from .vggt.config import vggt_1b, vggt_tiny


def _da3(
    name: str, config: Callable[[], DA3Config], licence: str, *, hub: str | None = None
) -> BackboneEntry:
    return BackboneEntry(
        name=name,
        build=lambda: DepthAnything3(name, config()),
        licence=licence,
        hub=hub,
        bundled=f"{name}.safetensors" if name == "da3-tiny" else None,
    )


for _entry in (
    _da3("da3-tiny", da3_tiny, "Apache-2.0"),
    _da3("da3-small", da3_small, "Apache-2.0", hub="depth-anything/DA3-SMALL"),
    _da3("da3-base", da3_base, "Apache-2.0", hub="depth-anything/DA3-BASE"),
    _da3("da3-large", da3_large, "CC BY-NC 4.0", hub="depth-anything/DA3-LARGE-1.1"),
    _da3("da3-giant", da3_giant, "CC BY-NC 4.0", hub="depth-anything/DA3-GIANT-1.1"),
):
    register_backbone(_entry)

register_backbone(
    BackboneEntry(
        name="vggt-1b",
        build=lambda: Vggt("vggt-1b", vggt_1b()),
        licence="CC BY-NC 4.0 (facebook/VGGT-1B-Commercial: VGGT licence)",
        hub="facebook/VGGT-1B",
    )
)
register_backbone(
    BackboneEntry(
        name="vggt-tiny", build=lambda: Vggt("vggt-tiny", vggt_tiny()), licence="Apache-2.0"
    )
)
