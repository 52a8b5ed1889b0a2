"""Run the network over all views of a scene: in windows where planned, again where memory ran out.

Progress is counted in arithmetic: the multiplications of every layer, known beforehand from a
run on the meta device, so that the time left is that of the work left.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones import Backbone, Prediction, build_on_meta, replace_attention

from ..terminal import Advance, Terminal
from .memory import forward
from .planning import Plan, thriftier
from .sequence import Join, predict_windows, windows

EXHAUSTED = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "could not create a memory object",  # oneDNN, and the line below
    "could not create a primitive",
)
LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
STEPS = 1000  # of the progress bar


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Views at the size of the network, and their cameras where they are known.

    intrinsics: in pixels of `images`.
    """

    images: Float[Tensor, "v 3 y x"]
    world_to_camera: Float[Tensor, "v 3 4"] | None = None
    intrinsics: Float[Tensor, "v 3 3"] | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was predicted, the plan that succeeded, and the joins of its windows."""

    prediction: Prediction
    plan: Plan
    joins: tuple[Join, ...]


def run_plan(backbone: Backbone, scene: Scene, plan: Plan, terminal: Terminal) -> Outcome:
    """Predict, with a thriftier plan after each time that memory runs out; each is told.

    Raises ValueError when the thriftiest plan does not fit either.
    """
    while True:
        try:
            return _attempt(backbone, scene, plan, terminal)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            told = (str(error).splitlines() or [type(error).__name__])[0][:160]
        gc.collect()  # tensors that the traceback held
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        after = thriftier(plan)
        if after is None:
            raise ValueError(
                f"memory ran out even with {plan.describe()} ({told}); use a smaller --size, "
                "fewer views (--max-views), or a smaller --backbone"
            )
        terminal.say(f"memory ran out with {plan.describe()}; trying {after.describe()}")
        plan = after


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or in PyTorch's CPU allocator."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(s in str(error).lower() for s in EXHAUSTED)


def _attempt(backbone: Backbone, scene: Scene, plan: Plan, terminal: Terminal) -> Outcome:
    parts = windows(plan.views, plan.window, plan.overlap)
    with (
        terminal.progress("reconstructing", STEPS) as advance,
        _counted(backbone, scene, plan, len(parts), advance),
    ):
        stitched = predict_windows(
            lambda part: _predict(backbone, scene, part, plan),
            parts,
            given_cameras=scene.world_to_camera is not None,
        )
    return Outcome(prediction=stitched.prediction, plan=plan, joins=stitched.joins)


def _predict(backbone: Backbone, scene: Scene, part: range, plan: Plan) -> Prediction:
    """One pass over some views; the result is on the CPU, in float32."""
    device = next(backbone.parameters()).device
    chosen = slice(part.start, part.stop)
    given = {}
    if scene.world_to_camera is not None and scene.intrinsics is not None:
        given = {
            "world_to_camera": scene.world_to_camera[chosen][None].to(device),
            "intrinsics": scene.intrinsics[chosen][None].to(device),
        }
    with torch.inference_mode():
        images = scene.images[chosen][None].to(device)
        found: Prediction = backbone(images, head_chunk=plan.head_chunk, **given)
        return found.to("cpu").to(torch.float32)


@contextmanager
def _counted(
    backbone: Backbone, scene: Scene, plan: Plan, passes: int, advance: Advance
) -> Iterator[None]:
    """Move a bar of `STEPS` steps as the layers of the network work, where anybody sees it."""
    if not advance.seen:
        yield
        return
    height, width = scene.images.shape[-2:]
    views = min(plan.window, plan.views)
    total = passes * work(backbone.name, views, height, width, plan.head_chunk)
    done = 0.0

    def count(operations: int) -> None:
        nonlocal done
        before, done = done, done + operations / total * STEPS
        if int(done) > int(before):
            advance(to=min(int(done), STEPS))

    with _hooked(backbone, backbone.name, count):
        yield


def work(name: str, views: int, height: int, width: int, head_chunk: int) -> int:
    """Multiplications of one pass of the dense backbone, in its layers and attentions."""
    backbone = build_on_meta(name).eval().requires_grad_(False)
    replace_attention(backbone, lambda site: _Shapes(), where=lambda site: True)
    total = 0

    def count(operations: int) -> None:
        nonlocal total
        total += operations

    with _hooked(backbone, name, count), torch.no_grad():
        images = torch.empty(1, views, 3, height, width, device="meta")
        forward(backbone)(images, head_chunk=head_chunk)
    return total


class _Shapes(nn.Module):
    """Attention that gives the shape alone."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, pinned: Tensor | None = None) -> Tensor:
        return torch.empty_like(q)


@contextmanager
def _hooked(backbone: nn.Module, name: str, count: Callable[[int], None]) -> Iterator[None]:
    """Report the multiplications of every layer of the dense backbone `name` as it finishes.

    Layers are found by their names there, so a student's own layers stand in for them.
    """

    def attended(core: Any, args: tuple[Tensor, ...], out: Tensor) -> None:
        q, k = args[:2]
        count(2 * q.numel() * k.shape[-2])

    def multiplied(operations_per_value: int) -> Callable[..., None]:
        def hook(layer: Any, args: Any, out: Tensor) -> None:
            count(out.numel() * operations_per_value)

        return hook

    dense = build_on_meta(name)
    cores = [f"{site.name}.core" for site in dense.attention_sites()]
    handles = [backbone.get_submodule(core).register_forward_hook(attended) for core in cores]
    for path, layer in dense.named_modules():
        if isinstance(layer, LAYERS):
            cost = layer.weight[0].numel()
            handles.append(backbone.get_submodule(path).register_forward_hook(multiplied(cost)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
