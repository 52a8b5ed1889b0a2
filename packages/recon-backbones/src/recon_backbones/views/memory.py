"""How much memory a backbone will need, found by running it without data.

The network runs once on PyTorch's meta device, where tensors have shapes but no content, and
every storage is counted while it lives (`live`). So the figure follows from the code that will
run, for any backbone, student, size and chunking, to the byte of what PyTorch's allocator gives.
What is beside it, the process and kernels' own buffers, is a `Margin` that names its source.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from recon_backbones.backbone import Backbone
from recon_backbones.blocks.attention import Attention, DenseAttention
from recon_backbones.blocks.streaming import streamed
from recon_backbones.registry import build_on_meta
from recon_backbones.views.live import LiveBytes

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
      layers included. The network stays as it is.
    - `device`: kind of device; on "cuda" convolutions get workspaces.

    Above 16 views (64 when streaming) the parts of dense backbones are straight lines in the number
    of views, drawn through that and its half. Raises ValueError for an unknown backbone, or sizes
    that it refuses.
    """
    kind = torch.device(device).type
    simulated = _named if isinstance(network, str) else _given
    most = FEW_SLICES if work.stream else FEW
    if work.views <= most or not _is_dense(network):
        return simulated(network, work, kind)  # type: ignore[arg-type]
    few, many = (
        simulated(network, replace(work, views=v), kind)  # type: ignore[arg-type]
        for v in (most // 2, most)
    )
    steps = (work.views - most) / (most - most // 2)
    parts = {p: int(b + (b - few.parts[p]) * steps) for p, b in many.parts.items()}
    return replace(many, inputs=many.inputs * work.views // most, parts=parts)


def _is_dense(network: str | Backbone) -> bool:
    """Whether every attention is the one that a registered backbone is built with."""
    parts = () if isinstance(network, str) else network.modules()
    return all(isinstance(p.core, DenseAttention) for p in parts if isinstance(p, Attention))


@lru_cache(maxsize=256)
def _named(name: str, work: Work, kind: str) -> Footprint:
    return _simulated(_built(name), work, kind)


@lru_cache(maxsize=4)
def _built(name: str) -> Backbone:
    """A network without memory for its weights; building it takes longer than running it so."""
    return build_on_meta(name).eval().requires_grad_(False)


_MADE: weakref.WeakKeyDictionary[Backbone, dict[tuple[Work, str], Footprint]]
_MADE = weakref.WeakKeyDictionary()


def _given(backbone: Backbone, work: Work, kind: str) -> Footprint:
    """A prediction is kept as long as its network."""
    made = _MADE.setdefault(backbone, {})
    if (work, kind) not in made:
        made[work, kind] = _simulated(backbone, work, kind)
    return made[work, kind]


def _simulated(backbone: Backbone, work: Work, kind: str) -> Footprint:
    state = _without_data(backbone, work)
    images = torch.empty(1, work.views, 3, work.height, work.width, device="meta")
    counter = LiveBytes(workspaces=kind == "cuda")
    run, options = _Forward(backbone), {"head_chunk": work.head_chunk}
    named = {f"backbone.{name}": tensor for name, tensor in state.items()}
    with (
        _fused(backbone),
        streamed(backbone, work.stream),
        _parts(backbone, counter),
        torch.no_grad(),
        counter,
    ):
        functional_call(run, named, (images,), options)
    unique = {t.untyped_storage()._cdata: t for t in state.values()}
    weights = sum(t.numel() * t.element_size() for t in unique.values())
    inputs = images.numel() * images.element_size()
    return Footprint(weights=weights, inputs=inputs, parts=counter.peaks)


def _without_data(backbone: Backbone, work: Work) -> dict[str, Tensor]:
    """Every parameter and buffer on the meta device, tensors that are shared only once."""
    made: dict[int, Tensor] = {}
    state = {}
    for name, tensor in (*backbone.named_parameters(), *backbone.named_buffers()):
        half = work.bytes_per_value == 2 and tensor.dtype == torch.float32
        dtype = torch.bfloat16 if half else tensor.dtype
        empty = torch.empty_like(tensor, device="meta", dtype=dtype, requires_grad=False)
        if isinstance(tensor, nn.Parameter):
            empty = nn.Parameter(empty, requires_grad=False)
        state[name] = made.setdefault(id(tensor), empty)
    return state


class _Forward(nn.Module):
    """What to call with images alone, also where a prediction needs given cameras."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor, *, head_chunk: int) -> object:
        backbone: Any = self.backbone
        run = backbone.internals if backbone.needs_cameras else backbone
        return run(images, head_chunk=head_chunk)


class _Fused(nn.Module):
    """Has the memory of fused attention: the output and one number a query."""

    def forward(
        self, q: Float[Tensor, "b h n d"], k: Tensor, v: Tensor, *, pinned: Tensor | None = None
    ) -> Float[Tensor, "b h n d"]:
        _ = q.new_empty(q.shape[:-1], dtype=torch.float32)
        return torch.empty_like(q)


@contextmanager
def _fused(backbone: Backbone) -> Iterator[None]:
    """Let dense attention be what has its memory, while this lasts."""
    found = [
        part
        for part in backbone.modules()
        if isinstance(part, Attention) and isinstance(part.core, DenseAttention)
    ]
    before = [part.core for part in found]
    for part in found:
        part.core = _Fused()
    try:
        yield
    finally:
        for part, core in zip(found, before, strict=True):
            part.core = core


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
