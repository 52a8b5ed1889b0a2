"""How much memory a backbone will need, found by running it without data.

The network runs once on PyTorch's meta device, where tensors have shapes but no content, and
every storage is counted while it lives (`live`). So the figure follows from the code that will
run, for any backbone, student, size and chunking, to the byte of what PyTorch's allocator gives.
What is beside it, the process and kernels' own buffers, is a `Margin` that names its source.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch

from recon_backbones.backbone import Backbone
from recon_backbones.blocks.attention import Attention, DenseAttention
from recon_backbones.blocks.streaming import streamed
from recon_backbones.registry import build_on_meta
from recon_backbones.views.live import LiveBytes
from recon_backbones.views.twin import state_of, twin_of

FEW = 16  # views up to which a dense forward pass is followed to the end
FEW_SLICES = 64  # the same, where blocks work on slices


@dataclass(frozen=True, kw_only=True)
class Margin:
    """What a device needs beside live tensors: a factor on the activations, and fixed bytes.

    `source` says whether that was measured or is predicted, and by what.
    """

    factor: float
    fixed: int
    source: str


MARGINS = {
    "cpu": Margin(
        factor=1.55,
        fixed=64 << 20,
        source="measured: resident memory over the allocator's, apps/lite3r-cli/benchmarks/"
        "memory_model.py",
    ),
    "cuda": Margin(
        factor=1.03,
        fixed=640 << 20,
        source="predicted: blocks of 2 MiB, cuBLAS workspaces of 32 MiB, CUDA context and code; "
        "tools/gpu_day.py measures it",
    ),
    "mps": Margin(
        factor=1.55,
        fixed=64 << 20,
        source="predicted: as on the CPU, whose memory Apple's GPUs share",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Work:
    """One forward pass: what goes in at once, and how it is cut.

    - `views`, `height`, `width`: of one scene.
    - `head_chunk`: views in the dense heads at once.
    - `bytes_per_value`: 4 or 2; of a network that is given, 4 leaves it as it is.
    - `stream`: whether tokens wait for the heads in the host's memory, and blocks work on slices.
    """

    views: int
    height: int
    width: int
    head_chunk: int = 8
    bytes_per_value: int = 4
    stream: bool = False


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes that a forward pass needs on its device.

    - `inputs`: the images.
    - `parts`: the peak of live bytes beside weights and inputs while blocks inside a view
      ("frame"), blocks over all views ("global") and dense heads ("heads") run.
    """

    weights: int
    inputs: int
    parts: dict[str, int] = field(default_factory=dict)

    @property
    def activations(self) -> int:
        """The highest of the parts."""
        return max(self.parts.values())

    def total(self, device: str) -> int:
        """What must be free on the device, its margin included."""
        margin = MARGINS[torch.device(device).type]
        return int(self.weights + self.inputs + margin.factor * self.activations) + margin.fixed


def footprint(network: str | Backbone, work: Work, *, device: str = "cpu") -> Footprint:
    """Predict the memory of a backbone with fused attention, without running it.

    - `network`: a registered name, or the network itself, a student with its own attention and
      layers included. A copy without data runs, so the network may be in use meanwhile.
    - `device`: kind of device; on "cuda" convolutions get workspaces.

    Above 16 views (64 when streaming) the parts of dense backbones are straight lines in the number
    of views, drawn through that and its half. Raises ValueError for an unknown backbone, or sizes
    that it refuses.
    """
    kind = torch.device(device).type
    backbone = _built(network) if isinstance(network, str) else network
    most = FEW_SLICES if work.stream else FEW
    if work.views <= most or not _is_dense(backbone):
        return _followed(backbone, [work], kind)[0]
    few, many = _followed(backbone, [replace(work, views=v) for v in (most // 2, most)], kind)
    steps = (work.views - most) / (most - most // 2)
    parts = {p: int(b + (b - few.parts[p]) * steps) for p, b in many.parts.items()}
    return replace(many, inputs=many.inputs * work.views // most, parts=parts)


def _is_dense(network: Backbone) -> bool:
    """Whether every attention is the one that a registered backbone is built with."""
    parts = (part for part in network.modules() if isinstance(part, Attention))
    return all(isinstance(part.core, DenseAttention) for part in parts)


@lru_cache(maxsize=4)
def _built(name: str) -> Backbone:
    """A network without memory for its weights; building it takes longer than running it so."""
    return build_on_meta(name).eval().requires_grad_(False)


_Made = dict[tuple[Work, str], Footprint]
_MADE: weakref.WeakKeyDictionary[Backbone, tuple[object, _Made]] = weakref.WeakKeyDictionary()


def _followed(backbone: Backbone, works: Sequence[Work], kind: str) -> list[Footprint]:
    """Predictions of forward passes alike in all but views, kept until the network changes."""
    state = state_of(backbone)
    before, made = _MADE.get(backbone, (None, {}))
    if state != before:
        made = {}
        _MADE[backbone] = state, made
    new = [work for work in works if (work, kind) not in made]
    if new:
        twin = twin_of(backbone, half=new[0].bytes_per_value == 2)
        made.update({(work, kind): _simulated(twin, work, kind) for work in new})
    return [made[work, kind] for work in works]


def _simulated(twin: Backbone, work: Work, kind: str) -> Footprint:
    size = (1, work.views, 3, work.height, work.width)
    images = torch.empty(size, dtype=torch.float32, device="meta")
    counter = LiveBytes(workspaces=kind == "cuda")
    run: Any = twin.internals if twin.needs_cameras else twin  # with images alone
    with streamed(twin, work.stream), _parts(twin, counter), torch.no_grad(), counter:
        run(images, head_chunk=work.head_chunk)
    held = {id(tensor): tensor for tensor in (*twin.parameters(), *twin.buffers())}
    weights = sum(t.numel() * t.element_size() for t in held.values())
    inputs = images.numel() * images.element_size()
    return Footprint(weights=weights, inputs=inputs, parts=counter.peaks)


@contextmanager
def _parts(backbone: Backbone, counter: LiveBytes) -> Iterator[None]:
    """Tell the counter which part of the network runs."""
    sites = [site for site in backbone.attention_sites() if site.scope != "camera"]

    def enter(part: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            counter.part = part

        return hook

    handles = [
        backbone.get_submodule(site.name).register_forward_pre_hook(enter(site.scope))
        for site in sites
    ]
    last = backbone.get_submodule(sites[-1].name.rpartition(".")[0])
    handles.append(last.register_forward_hook(enter("heads")))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
