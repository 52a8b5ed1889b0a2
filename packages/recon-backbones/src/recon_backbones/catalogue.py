"""The backbones that come with this package, with the home and the licence of their weights."""

from collections.abc import Callable

from .da3.backbone import DepthAnything3
from .da3.config import DA3Config, da3_base, da3_giant, da3_large, da3_small, da3_tiny
from .da3.mono_backbone import MonoDepthAnything3
from .da3.mono_config import MonoConfig, da3metric_large, da3metric_tiny, da3mono_large
from .da3.nested import NestedDepthAnything3, da3nested_tiny_views
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


def _mono(name: str, config: Callable[[], MonoConfig], *, hub: str | None = None) -> BackboneEntry:
    return BackboneEntry(
        name=name,
        build=lambda: MonoDepthAnything3(name, config()),
        licence="Apache-2.0",
        hub=hub,
    )


def _nested(
    name: str,
    anyview: Callable[[], DA3Config],
    metric: Callable[[], MonoConfig],
    licence: str,
    *,
    hub: str | None = None,
) -> BackboneEntry:
    return BackboneEntry(
        name=name,
        build=lambda: NestedDepthAnything3(name, anyview(), metric()),
        licence=licence,
        hub=hub,
    )


for _entry in (
    _da3("da3-tiny", da3_tiny, "Apache-2.0"),
    _da3("da3-small", da3_small, "Apache-2.0", hub="depth-anything/DA3-SMALL"),
    _da3("da3-base", da3_base, "Apache-2.0", hub="depth-anything/DA3-BASE"),
    _da3("da3-large", da3_large, "CC BY-NC 4.0", hub="depth-anything/DA3-LARGE-1.1"),
    _da3("da3-giant", da3_giant, "CC BY-NC 4.0", hub="depth-anything/DA3-GIANT-1.1"),
    _mono("da3mono-large", da3mono_large, hub="depth-anything/DA3MONO-LARGE"),
    _mono("da3metric-large", da3metric_large, hub="depth-anything/DA3METRIC-LARGE"),
    _mono("da3metric-tiny", da3metric_tiny),
    _nested(
        "da3nested-giant-large",
        da3_giant,
        da3metric_large,
        "CC BY-NC 4.0",
        hub="depth-anything/DA3NESTED-GIANT-LARGE-1.1",
    ),
    _nested("da3nested-tiny", da3nested_tiny_views, da3metric_tiny, "Apache-2.0"),
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
