"""Backbones by name: what is known, and how to load one."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.resources import as_file, files
from pathlib import Path

import torch

from recon_backbones.backbone import Backbone, WeightsSource
from recon_backbones.catalog import CATALOG, BackboneEntry
from recon_backbones.checks import check_there
from recon_backbones.weights.checkpoint import find_checkpoint, fit, read_state

MAX_SEED = (1 << 63) - 1  # what PyTorch takes
_ENTRIES: dict[str, BackboneEntry] = dict(CATALOG)


def register_backbone(entry: BackboneEntry) -> None:
    """Add a backbone; raises ValueError if the name is taken."""
    if entry.name in _ENTRIES:
        raise ValueError(f"backbone={entry.name!r}; it is registered already: choose another name")
    _ENTRIES[entry.name] = entry


def unregister_backbone(name: str) -> None:
    """Take a backbone off the list; raises ValueError if it is not there."""
    backbone_entry(name)
    del _ENTRIES[name]


def list_backbones() -> tuple[str, ...]:
    """Names of all backbones, in the order of registration."""
    return tuple(_ENTRIES)


def backbone_entry(name: str) -> BackboneEntry:
    """Look a backbone up; raises ValueError naming the known ones."""
    if name not in _ENTRIES:
        raise ValueError(f"backbone {name!r} is unknown; known: {', '.join(_ENTRIES)}")
    return _ENTRIES[name]


def load_backbone(
    name: str,
    *,
    weights: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    revision: str | None = None,
) -> Backbone:
    """Build a backbone with its weights, in evaluation mode.

    `weights` is "hub" (download, or the local cache), "bundled" (a file of this package), "random"
    (drawn from `seed`), or the path of a local file or directory. `revision` pins the Hub commit.
    Where the weights came from and their license stand in `backbone.weights`.

    Raises ValueError if the name is unknown, the device is not there, the weights are not at hand,
    or they do not fit.
    """
    entry = backbone_entry(name)
    check_there(device)
    if revision is not None and weights != "hub":
        raise ValueError(
            f"revision={revision!r} with weights={str(weights)!r}; only the Hub has revisions: "
            "pass weights='hub'"
        )
    if weights == "random":
        backbone, source = _random(entry, seed)
    else:
        path, source = _locate(entry, weights, revision)
        backbone = _from_file(entry, path)
    backbone.weights = source
    return backbone.to(device=device, dtype=dtype).eval()


def build_on_meta(name: str) -> Backbone:
    """Build a backbone without memory for its weights, for shapes and counts."""
    with torch.device("meta"):
        return backbone_entry(name).build()


def _random(entry: BackboneEntry, seed: int) -> tuple[Backbone, WeightsSource]:
    if type(seed) is not int or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed={seed!r}; it must be a whole number from 0 to {MAX_SEED}: give 0")
    with torch.random.fork_rng(devices=[]), _plain_defaults():
        torch.default_generator.manual_seed(seed)  # torch.manual_seed reseeds GPUs too, for good
        backbone = entry.build()
        backbone.init_weights()
    source = WeightsSource(kind="random", location=f"seed {seed}", license="none", seed=seed)
    return backbone, source


@contextmanager
def _plain_defaults() -> Iterator[None]:
    """What PyTorch makes unless told is float32 on the CPU: other numbers would be drawn."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(before)


def _from_file(entry: BackboneEntry, path: Path) -> Backbone:
    with torch.device("meta"):
        backbone = entry.build()
    fit(backbone, backbone.convert_names(read_state(path)), source=str(path))
    return backbone


def _locate(
    entry: BackboneEntry, weights: str | Path, revision: str | None
) -> tuple[Path, WeightsSource]:
    if weights == "hub":
        path = _download(entry, revision)
        return path, WeightsSource(
            kind="hub", location=entry.hub or "", license=entry.license, revision=revision
        )
    if weights == "bundled":
        return _bundled(entry), WeightsSource(
            kind="bundled", location=entry.bundled or "", license=entry.license
        )
    path = find_checkpoint(Path(weights))
    return path, WeightsSource(kind="file", location=str(path), license="as given by its source")


def _bundled(entry: BackboneEntry) -> Path:
    if entry.bundled is None:
        having = [e.name for e in _ENTRIES.values() if e.bundled]
        raise ValueError(f"backbone {entry.name!r} has no bundled weights; those with: {having}")
    with as_file(files(__package__) / "bundled" / entry.bundled) as path:
        if not path.is_file():
            raise ValueError(
                f"weights='bundled'; {entry.bundled} is not in this installation ({path}): "
                "install a full wheel, or give a path or weights='random'"
            )
        return path


def _download(entry: BackboneEntry, revision: str | None) -> Path:
    if entry.hub is None:
        raise ValueError(
            f"backbone={entry.name!r}; it has no weights on the Hub: give a local file"
        )
    way_out = (
        f"the weights of {entry.name!r} are https://huggingface.co/{entry.hub} "
        f"(license {entry.license}); download model.safetensors there and give its path as "
        f"weights: load_backbone({entry.name!r}, weights='/path/to/model.safetensors')"
    )
    try:
        hub = import_module("huggingface_hub")
        errors = import_module("huggingface_hub.errors")
    except ImportError as error:
        raise ValueError(
            "weights='hub'; it needs the package huggingface-hub (pip install huggingface-hub): "
            f"{way_out}"
        ) from error
    try:
        return Path(hub.hf_hub_download(entry.hub, "model.safetensors", revision=revision))
    except (errors.HfHubHTTPError, OSError) as error:  # not cached and no network is an OSError
        raise ValueError(
            f"weights='hub'; the Hub gave nothing ({type(error).__name__}): {way_out}"
        ) from error
