"""The backbones that come with this package, with the home and the license of their weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from recon_backbones.backbone import Backbone
from recon_backbones.da3.backbone import DepthAnything3
from recon_backbones.da3.config import (
    DA3Config,
    da3_base,
    da3_giant,
    da3_large,
    da3_small,
    da3_tiny,
)
from recon_backbones.da3.single.backbone import MonoDepthAnything3
from recon_backbones.da3.single.config import (
    MonoConfig,
    da3metric_large,
    da3metric_tiny,
    da3mono_large,
)
from recon_backbones.da3.single.nested import NestedDepthAnything3, da3nested_tiny_views
from recon_backbones.vggt.backbone import Vggt
from recon_backbones.vggt.config import vggt_1b, vggt_tiny


@dataclass(frozen=True, kw_only=True)
class BackboneEntry:
    """What the registry knows about a backbone.

    `build` makes it with whatever weights its parts start with. `hub` is the Hub repository of the
    public weights, `license` what binds their user, `bundled` the name of a file of this package.
    """

    name: str
    build: Callable[[], Backbone]
    license: str
    hub: str | None = None
    bundled: str | None = None


def _da3(
    name: str, config: Callable[[], DA3Config], license: str, *, hub: str | None = None
) -> BackboneEntry:
    return BackboneEntry(
        name=name,
        build=lambda: DepthAnything3(name, config()),
        license=license,
        hub=hub,
        bundled=f"{name}.safetensors" if name == "da3-tiny" else None,
    )


def _mono(name: str, config: Callable[[], MonoConfig], *, hub: str | None = None) -> BackboneEntry:
    return BackboneEntry(
        name=name,
        build=lambda: MonoDepthAnything3(name, config()),
        license="Apache-2.0",
        hub=hub,
    )


def _nested(
    name: str,
    anyview: Callable[[], DA3Config],
    metric: Callable[[], MonoConfig],
    license: str,
    *,
    hub: str | None = None,
) -> BackboneEntry:
    return BackboneEntry(
        name=name,
        build=lambda: NestedDepthAnything3(name, anyview(), metric()),
        license=license,
        hub=hub,
    )


CATALOG: Mapping[str, BackboneEntry] = {
    entry.name: entry
    for entry in (
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
        BackboneEntry(
            name="vggt-1b",
            build=lambda: Vggt("vggt-1b", vggt_1b()),
            license="CC BY-NC 4.0 (facebook/VGGT-1B-Commercial: VGGT license)",
            hub="facebook/VGGT-1B",
        ),
        BackboneEntry(
            name="vggt-tiny",
            build=lambda: Vggt("vggt-tiny", vggt_tiny()),
            license="Apache-2.0",
            bundled="vggt-tiny.safetensors",
        ),
    )
}
