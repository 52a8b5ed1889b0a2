"""Run the network over all views: in windows where planned, again where memory ran out."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon_backbones.backbone import Backbone
from recon_backbones.blocks.streaming import streamed
from recon_backbones.chain.close import Loop
from recon_backbones.chain.join import Join
from recon_backbones.errors import InputError
from recon_backbones.machine.amounts import readable
from recon_backbones.machine.free import beyond_pytorch, resident, taken
from recon_backbones.prediction import Prediction
from recon_backbones.telling import SILENT, Advance, Telling
from recon_backbones.views.memory import MARGINS
from recon_backbones.views.options import Memory
from recon_backbones.views.plan import Plan, Situation, make_plan, thriftier
from recon_backbones.views.windows import predict_windows, windows

EXHAUSTED = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "could not create a memory object",  # oneDNN, and the line below
    "could not create a primitive",
    "cublas_status_alloc_failed",  # of CUDA, and the lines below
    "cublas_status_not_initialized when calling `cublascreate",
    "cudnn_status_alloc_failed",
    "unable to find an engine to execute this computation",
)


@dataclass(frozen=True, kw_only=True)
class Views:
    """Views at the size of the network, and their cameras where they are known.

    `intrinsics` are in pixels of `images`.
    """

    images: Float[Tensor, "v 3 y x"]
    world_to_camera: Float[Tensor, "v 3 4"] | None = None
    intrinsics: Float[Tensor, "v 3 3"] | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was predicted, the plan that succeeded, and the joins and loops of its windows."""

    prediction: Prediction
    plan: Plan
    joins: tuple[Join, ...]
    loops: tuple[Loop, ...] = ()


def predict_views(backbone: Backbone, views: Views, options: Memory, telling: Telling) -> Outcome:
    """Plan by memory, say what was chosen, and run; the backbone is converted as asked or planned.

    Raises InputError when no plan fits.
    """
    if options.precision == "float32":
        backbone = backbone.float()  # before the plan, which takes float32 for what is there
    plan = make_plan(options, _situation(backbone, views))
    for sentence in plan.why:
        telling.say(sentence)
    if plan.half is not None:
        backbone = backbone.to(plan.half)
    height, width = views.images.shape[-2:]
    needs = f"; about {readable(plan.needs)} of memory" if plan.needs else ""
    count = f"{plan.views} view{'s' * (plan.views != 1)}"
    telling.say(f"{count} of {width} x {height} pixels, {plan.describe()}{needs}")
    outcome = run_plan(backbone, views, plan, telling, close_loops=options.close_loops)
    for join in outcome.joins:
        if join.weak:
            telling.say(
                f"the windows that meet at view {join.first_view + 1} disagree (depths by a factor "
                f"of {join.scale_spread:.2f}); a larger overlap may help"
            )
    for loop in outcome.loops:
        telling.say(loop.describe())
    return outcome


def _situation(backbone: Backbone, views: Views) -> Situation:
    """What the plan must fit: weights are counted in the plan, so not among what is held."""
    weights = (*backbone.parameters(), *backbone.buffers())
    device = weights[0].device
    on_gpu = device.type == "cuda"
    own = min(MARGINS["cuda"].fixed, beyond_pytorch(str(device))) if on_gpu else 0
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    return Situation(
        backbone=backbone,
        views=len(views.images),
        height=views.images.shape[-2],
        width=views.images.shape[-1],
        device=str(device),
        held=0 if on_gpu else max(0, resident() - size),
        loaded=taken(weights) + own,
    )


def run_plan(
    backbone: Backbone,
    views: Views,
    plan: Plan,
    telling: Telling = SILENT,
    *,
    close_loops: bool = True,
) -> Outcome:
    """Predict, with a thriftier plan after each time that memory runs out; each is told.

    Raises InputError when the thriftiest plan does not fit either.
    """
    while True:
        try:
            return _attempt(backbone, views, plan, telling, close_loops=close_loops)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            told = (str(error).splitlines() or [type(error).__name__])[0][:160]
        gc.collect()  # tensors that the traceback held
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()
        after = thriftier(plan)
        if after is None:
            raise InputError(
                f"memory ran out even with {plan.describe()}; {told}: use a smaller size, "
                "fewer views (max_views), or a smaller backbone"
            )
        telling.say(f"memory ran out with {plan.describe()}; trying {after.describe()}")
        plan = after


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or in PyTorch's CPU allocator."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(s in str(error).lower() for s in EXHAUSTED)


def _attempt(
    backbone: Backbone, views: Views, plan: Plan, telling: Telling, *, close_loops: bool
) -> Outcome:
    parts = windows(plan.views, plan.window, plan.overlap)
    layers = _layers(backbone)
    with (
        telling.progress("reconstructing", len(parts) * len(layers)) as advance,
        _told(backbone, layers, advance),
    ):
        stitched = predict_windows(
            lambda part: _predict(backbone, views, part, plan),
            parts,
            given_cameras=views.world_to_camera is not None,
            images=views.images if close_loops else None,
        )
    return Outcome(
        prediction=stitched.prediction, plan=plan, joins=stitched.joins, loops=stitched.loops
    )


def _predict(backbone: Backbone, views: Views, part: Sequence[int], plan: Plan) -> Prediction:
    """One pass over some views; the result is on the CPU, in float32, and finite."""
    weights = next(backbone.parameters())
    chosen = slice(part.start, part.stop) if isinstance(part, range) else list(part)
    images, poses, lenses = (
        None if given is None else given[chosen][None].to(weights.device)
        for given in (views.images, views.world_to_camera, views.intrinsics)
    )
    assert images is not None
    with torch.inference_mode(), streamed(backbone, plan.stream):
        found = backbone(
            images, world_to_camera=poses, intrinsics=lenses, head_chunk=plan.head_chunk
        )
        found = found.to("cpu").to(torch.float32)
    _check_finite(found, part, weights.dtype)
    return found


WAY_OUT = {
    torch.float16: "use float32 or bfloat16 (precision)",
    torch.bfloat16: "use float32 (precision)",
}


def _check_finite(found: Prediction, part: Sequence[int], kept_in: torch.dtype) -> None:
    """Raise InputError naming views of which a camera, or all depth, is no number."""
    cameras = torch.cat((found.world_to_camera[0], found.intrinsics[0]), dim=-1)
    sound = cameras.isfinite().flatten(1).all(dim=1) & found.depth[0].isfinite().flatten(1).any(1)
    bad = [f"{view + 1}" for view, fine in zip(part, sound.tolist(), strict=True) if not fine]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise InputError(
            f"view{'s' * (len(bad) > 1)} {', '.join(bad[:3])}{more}: camera or depth came out as "
            f"no number, with weights in {str(kept_in).removeprefix('torch.')}; both must be "
            f"finite: {WAY_OUT.get(kept_in, 'take other weights')}, or leave these photos out"
        )


def _layers(backbone: Backbone) -> list[str]:
    """The attentions that every pass goes through once."""
    return [site.name for site in backbone.attention_sites() if site.scope != "camera"]


@contextmanager
def _told(backbone: Backbone, layers: list[str], advance: Advance) -> Iterator[None]:
    """One step of progress for each layer that is done."""

    def done(*_: object) -> None:
        advance()  # what it returns would stand for what the layer did

    handles = [backbone.get_submodule(name).register_forward_hook(done) for name in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
