"""How much memory a backbone will need, found by running it without data.

The network runs once on PyTorch's meta device, where tensors have shapes but no content, and
every storage is counted while it lives. So the figure follows from the code that will run,
for any backbone, size and chunking. What kernels allocate inside themselves is not seen;
`benchmarks/memory_model.py` measures how much that is, and `KERNELS` is the answer.
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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recon_backbones.backbone import Backbone
from recon_backbones.registry import build_on_meta
from recon_backbones.surgery import replace_attention

KERNELS = {"cpu": 1.55, "cuda": 1.15}  # peak over live bytes; cuda is a guess
FEW = 16  # views up to which a forward pass is followed to the end
RUNTIME = {"cpu": 64 << 20, "cuda": 600 << 20}  # code loaded on first use; CUDA's context


@dataclass(frozen=True, kw_only=True)
class Work:
    """One forward pass: what goes in at once, and how it is cut.

    views, height, width: of one scene. head_chunk: views in the dense heads at once.
    bytes_per_value: 4 or 2.
    """

    views: int
    height: int
    width: int
    head_chunk: int = 8
    bytes_per_value: int = 4


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes that a forward pass needs.

    inputs: the images. parts: the peak of live bytes beside weights and inputs while blocks
    inside a view ("frame"), blocks over all views ("global") and dense heads ("heads") run.
    """

    weights: int
    inputs: int
    parts: dict[str, int] = field(default_factory=dict)

    @property
    def activations(self) -> int:
        """The highest of the parts."""
        return max(self.parts.values())

    def total(self, device: str) -> int:
        """What must be free on the device, kernels' own memory included."""
        kind = torch.device(device).type
        return int(self.weights + self.inputs + KERNELS[kind] * self.activations) + RUNTIME[kind]


def footprint(name: str, work: Work) -> Footprint:
    """Predict the memory of a registered backbone with fused dense attention.

    Sparse linear attention needs no more than a few copies of its queries either. Above 16
    views the parts are straight lines in the number of views, drawn through 8 and 16.
    Raises ValueError for an unknown backbone, or sizes that it refuses.
    """
    if work.views <= FEW:
        return _simulated(name, work)
    few, many = (_simulated(name, replace(work, views=v)) for v in (FEW // 2, FEW))
    steps = (work.views - FEW) / (FEW - FEW // 2)
    parts = {p: int(b + (b - few.parts[p]) * steps) for p, b in many.parts.items()}
    return replace(many, inputs=many.inputs * work.views // FEW, parts=parts)


@lru_cache(maxsize=256)
def _simulated(name: str, work: Work) -> Footprint:
    backbone = build_on_meta(name).eval()
    dtype = torch.float32 if work.bytes_per_value == 4 else torch.bfloat16
    backbone = backbone.to(dtype).requires_grad_(False)
    replace_attention(backbone, lambda site: _Fused(), where=lambda site: True)
    weights = sum(p.numel() * p.element_size() for p in backbone.parameters())
    images = torch.empty(1, work.views, 3, work.height, work.width, device="meta")
    counter = _LiveBytes()
    with _parts(backbone, counter), torch.no_grad(), counter:
        forward(backbone)(images, head_chunk=work.head_chunk)
    inputs = images.numel() * images.element_size()
    return Footprint(weights=weights, inputs=inputs, parts=counter.peaks)


def forward(backbone: Backbone) -> Callable[..., Any]:
    """What to call with images alone, also where a prediction needs given cameras."""
    if getattr(backbone, "needs_cameras", False):
        alone: Callable[..., Any] = backbone.internals  # type: ignore[assignment]
        return alone
    return backbone


class _Fused(nn.Module):
    """Has the memory of fused attention: the output and one number a query."""

    def forward(
        self, q: Float[Tensor, "b h n d"], k: Tensor, v: Tensor, *, pinned: Tensor | None = None
    ) -> Float[Tensor, "b h n d"]:
        _ = q.new_empty(q.shape[:-1], dtype=torch.float32)
        return torch.empty_like(q)


class _LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make, until they die."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.part = "frame"
        self.peaks: dict[str, int] = {}
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {
            t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)
        }
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in given and storage not in self._seen:
                    self._add(storage)
        return result

    def _add(self, storage: Any) -> None:
        size = storage.nbytes()
        self._seen.add(storage)
        self.live += size
        self.peaks[self.part] = max(self.peaks.get(self.part, 0), self.live)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.live -= size


@contextmanager
def _parts(backbone: Backbone, counter: _LiveBytes) -> Iterator[None]:
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
