"""A backbone as CUDA graphs, one for each shape of images: one launch in place of thousands.

Few views are short work for a GPU, and the host cannot launch their kernels as fast as they run. A
graph keeps all launches of a shape. Its first call is an ordinary one, which also compiles and
plans what is made once; the second captures; from then on images are copied in, the graph runs, and
results are copied out.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from recon_backbones.backbone import Backbone, Reference, check_images
from recon_backbones.errors import InputError
from recon_backbones.geometry.cameras import check_cameras
from recon_backbones.prediction import Prediction

T = TypeVar("T")
Key = tuple[object, ...]
GIVEN = "cameras are given, and to bring depth to their unit reads numbers"
CAST = "autocast is on, and a graph would go on reading weights that it casts and then frees"
WARM_UPS = 2  # calls on the side stream before a capture, as PyTorch asks for


@runtime_checkable
class Graphs(Protocol):
    """What captures: CUDA, or a stand-in of the same behavior in a rehearsal."""

    def obstacle(self, images: Tensor) -> str | None:
        """Why a call with these images cannot be captured, or None."""

    def capture(self, run: Callable[[], T], device: torch.device) -> tuple[T, Callable[[], object]]:
        """Record what `run` does on a device; return its result, and what makes it anew there."""


class CudaGraphs:
    """CUDA's graphs; those of a device share their memory, for they run one after another."""

    def __init__(self) -> None:
        self._beside: dict[torch.device, tuple[Any, Any]] = {}

    def obstacle(self, images: Tensor) -> str | None:
        """Graphs are CUDA's, and record no gradients."""
        if images.device.type != "cuda":
            return f"images are on {images.device}, and graphs are of CUDA"
        return "gradients are recorded" if torch.is_grad_enabled() else None

    def capture(self, run: Callable[[], T], device: torch.device) -> tuple[T, Callable[[], object]]:
        """Warm up on a stream of its own, then record on it: PyTorch's may be another device's."""
        with torch.cuda.device(device):
            beside, pool = self._stream_and_pool(device)
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(WARM_UPS):
                    run()
            torch.cuda.current_stream().wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=beside):
                made = run()

        def replay() -> None:
            with torch.cuda.device(device):
                graph.replay()

        return made, replay

    def _stream_and_pool(self, device: torch.device) -> tuple[Any, Any]:
        """Graphs that share a pool must be recorded on one stream."""
        if device not in self._beside:
            self._beside[device] = (torch.cuda.Stream(device), torch.cuda.graph_pool_handle())
        return self._beside[device]


class _Captured:
    """One graph with the memory that it reads and writes."""

    def __init__(self, run: Callable[[Tensor], Prediction], images: Tensor, graphs: Graphs) -> None:
        with torch.inference_mode(mode=False):  # else no call outside of that mode may write them
            self.images = images.detach().clone()
        self.output, self.replay = graphs.capture(lambda: run(self.images), images.device)

    def __call__(self, images: Tensor) -> Prediction:
        self.images.copy_(images)
        self.replay()
        made: Prediction = _copied(self.output)
        return made


class CapturedBackbone:
    """Call it as the backbone; results are the same bits.

    with torch.inference_mode():
        prediction = CapturedBackbone(backbone)(images)

    A shape is captured when it comes for the second time; calls with cameras are not, for their
    unit is found on the host, nor those under autocast. `last` says how the last call ran:
    "captured", or why not. Weights, attention and token order must not change after a capture;
    `forget` drops all graphs. Each holds memory for one forward pass beyond what others have.

    - `most`: how many shapes are kept; the one that was not used for longest is dropped.

    Raises ValueError for a number below one.
    """

    def __init__(self, backbone: Backbone, *, most: int = 4, graphs: Graphs | None = None) -> None:
        if most < 1:
            raise InputError(f"most={most}; it must be at least 1 graph: call the backbone instead")
        self.backbone, self.most = backbone, most
        self.last = "not called yet"
        self._graphs = graphs or CudaGraphs()
        self._kept: OrderedDict[Key, _Captured | None] = OrderedDict()

    def __call__(
        self,
        images: Float[Tensor, "b v 3 y x"],
        *,
        world_to_camera: Float[Tensor, "b v 3 4"] | None = None,
        intrinsics: Float[Tensor, "b v 3 3"] | None = None,
        reference: Reference | None = None,
        head_chunk: int = 8,
    ) -> Prediction:
        """Reconstruct scenes, as `Backbone` does.

        Raises ValueError for images and cameras that the backbone would refuse.
        """
        check_images(images, self.backbone.patch_size)
        check_cameras(images, world_to_camera, intrinsics)

        def run(images: Tensor) -> Prediction:
            made: Prediction = self.backbone(
                images,
                world_to_camera=world_to_camera,
                intrinsics=intrinsics,
                reference=reference,
                head_chunk=head_chunk,
            )
            return made

        obstacle = self._graphs.obstacle(images) or (None if world_to_camera is None else GIVEN)
        obstacle = obstacle or (CAST if torch.is_autocast_enabled(images.device.type) else None)
        if obstacle is not None:
            self.last = obstacle
            return run(images)
        key = (reference, head_chunk, images.shape, images.dtype, images.device)
        if key not in self._kept:
            self.last = "a shape is captured when it comes for the second time"
            self._keep(key, None)
            return run(images)
        captured = self._kept[key] or _Captured(run, images, self._graphs)
        self._keep(key, captured)
        self.last = "captured"
        return captured(images)

    def forget(self) -> None:
        """Drop all graphs and their memory."""
        self._kept.clear()

    def _keep(self, key: Key, captured: _Captured | None) -> None:
        self._kept[key] = captured
        self._kept.move_to_end(key)
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)


def _copied(made: Any) -> Any:
    """The same in memory of its own."""
    if isinstance(made, Tensor):
        return made.clone()
    if not is_dataclass(made) or isinstance(made, type):
        return made
    return replace(made, **{f.name: _copied(getattr(made, f.name)) for f in fields(made)})
