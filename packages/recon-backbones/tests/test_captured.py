"""A captured backbone gives the backbone's bits, captures repeated shapes, and can be captured."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recon_backbones import Backbone, CapturedBackbone, Prediction, build_on_meta, load_backbone
from recon_backbones.export.captured import CudaGraphs

from .short import short

WAITS = ("nonzero", "_local_scalar_dense", "masked_select", "unique", "item", "equal")


class Rehearsed:
    """Captures as CUDA does, as far as callers see: a replay writes the same memory anew."""

    def __init__(self) -> None:
        self.captures = 0

    def obstacle(self, images: Tensor) -> str | None:
        return None

    def capture(
        self, run: Callable[[], Any], device: torch.device
    ) -> tuple[Any, Callable[[], object]]:
        self.captures += 1
        made = run()

        @torch.inference_mode()
        def replay() -> None:
            for field, anew in vars(run()).items():
                if isinstance(anew, Tensor):
                    getattr(made, field).copy_(anew)

        return made, replay


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return short("vggt-tiny")


def scene(views: int, seed: int) -> Tensor:
    return torch.rand(1, views, 3, 28, 42, generator=torch.Generator().manual_seed(seed))


def assert_same(one: Prediction, other: Prediction) -> None:
    for a, b in zip(tree_leaves(vars(one)), tree_leaves(vars(other)), strict=True):
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b


@torch.inference_mode()
def test_every_call_gives_the_bits_of_the_backbone(tiny: Backbone) -> None:
    graphs = Rehearsed()
    captured = CapturedBackbone(tiny, graphs=graphs)
    made = [(x := scene(2, seed), captured(x)) for seed in range(4)]
    assert (graphs.captures, captured.last) == (1, "captured")
    for images, prediction in made:  # also the first ones, after later calls
        assert_same(prediction, tiny(images))


@torch.inference_mode()
def test_shapes_have_graphs_of_their_own_and_the_oldest_goes(tiny: Backbone) -> None:
    graphs = Rehearsed()
    captured = CapturedBackbone(tiny, most=2, graphs=graphs)
    for views in (1, 1, 2, 2, 1, 2):
        captured(scene(views, 0))
    assert graphs.captures == 2
    captured(scene(3, 0))  # drops that of one view
    assert captured.last.startswith("a shape is captured when")
    captured(scene(1, 0))
    assert captured.last != "captured"
    captured.forget()
    captured(scene(2, 0))
    assert captured.last != "captured"


@torch.inference_mode()
def test_options_are_part_of_the_shape(tiny: Backbone) -> None:
    graphs = Rehearsed()
    captured = CapturedBackbone(tiny, graphs=graphs)
    for chunk in (1, 2, 1, 2):
        assert_same(captured(scene(2, 0), head_chunk=chunk), tiny(scene(2, 0), head_chunk=chunk))
    assert graphs.captures == 2


def test_a_graph_serves_calls_in_and_out_of_inference_mode(tiny: Backbone) -> None:
    graphs = Rehearsed()
    captured = CapturedBackbone(tiny, graphs=graphs)
    with torch.inference_mode():
        captured(scene(2, 0))
        captured(scene(2, 0))
    with torch.no_grad():
        assert_same(captured(scene(2, 1)), tiny(scene(2, 1)))
    assert (graphs.captures, captured.last) == (1, "captured")


@torch.inference_mode()
def test_calls_under_autocast_have_no_graph_and_others_keep_theirs(tiny: Backbone) -> None:
    graphs = Rehearsed()
    captured = CapturedBackbone(tiny, graphs=graphs)
    for sixteen_bits in (True, True, False, False, True, False):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=sixteen_bits):
            assert_same(captured(scene(2, 0)), tiny(scene(2, 0)))
            assert captured.last.startswith("autocast is on") == sixteen_bits
    assert (graphs.captures, captured.last) == (1, "captured")


def test_what_cannot_be_captured_runs_and_says_so(tiny: Backbone) -> None:
    captured = CapturedBackbone(tiny)
    with torch.no_grad():
        assert_same(captured(scene(2, 0)), tiny(scene(2, 0)))
    assert captured.last == "images are on cpu, and graphs are of CUDA"
    with pytest.raises(ValueError, match=r"images range over"):
        captured(scene(2, 0) + 3)
    with pytest.raises(ValueError, match=r"most=0; it must be at least 1 graph"):
        CapturedBackbone(tiny, most=0)


class Cuda:
    """What `torch.cuda` offers for captures: it notes on which device each thing happens."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now, self.seen, self.pools = torch.device("cuda", 0), [], 0
        for name in ("device", "stream", "graph", "graph_pool_handle", "current_stream"):
            patch.setattr(torch.cuda, name, getattr(self, name))
        patch.setattr(torch.cuda, "Stream", lambda device=None: Stream(device or self.now))
        patch.setattr(torch.cuda, "CUDAGraph", lambda: Graph(self))

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        before, self.now = self.now, device
        yield
        self.now = before

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        with self.device(stream.device):
            yield

    @contextmanager
    def graph(self, graph: Any, pool: Any = None, stream: Any = None) -> Iterator[None]:
        assert isinstance(pool, int)
        self.seen.append(("graph", self.now, pool, stream))
        with self.device(torch.device("cuda", 0) if stream is None else stream.device):
            yield  # without a stream PyTorch takes one of whatever device was current first

    def current_stream(self) -> Any:
        return Stream(self.now)

    def graph_pool_handle(self) -> int:
        self.pools += 1
        return self.pools


class Stream:
    """A stream of a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def wait_stream(self, other: Any) -> None:
        assert other.device == self.device


class Graph:
    """What can be run again."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda

    def replay(self) -> None:
        self.cuda.seen.append(("replay", self.cuda.now))


def test_graphs_are_recorded_and_run_on_the_device_of_the_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever device is the current one; graphs of a device have one stream and one pool."""
    cuda, graphs = Cuda(monkeypatch), CudaGraphs()
    second, third = torch.device("cuda", 1), torch.device("cuda", 2)
    for device in (second, third, second):
        made, replay = graphs.capture(lambda: cuda.now, device)
        assert made == device and cuda.now == torch.device("cuda", 0)
        replay()
        assert cuda.seen[-1] == ("replay", device)
    recorded = [seen for seen in cuda.seen if seen[0] == "graph"]
    assert [seen[1] for seen in recorded] == [second, third, second]
    assert recorded[0] == recorded[2] and recorded[0][2] != recorded[1][2]


class Seen(TorchDispatchMode):
    """The operators that run, each with its tensors' devices."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, set[str]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
        self.found.append((str(func), {x.device.type for x in tensors}))
        return result


@pytest.mark.parametrize("name", ["vggt-tiny", "da3-tiny"])
@pytest.mark.parametrize("views", [1, 4])
def test_a_forward_pass_neither_waits_nor_copies_from_the_host(
    name: str, views: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else no graph could hold it. On the meta device a value that is read raises by itself."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("numbers are copied from the host")

    backbone = build_on_meta(name).eval()
    images = torch.empty(1, views, 3, 28, 42, device="meta")
    monkeypatch.setattr(torch, "tensor", refused)
    monkeypatch.setattr(torch.Tensor, "new_tensor", refused)
    with torch.no_grad(), Seen() as seen:
        backbone(images)
    assert len(seen.found) > 100
    for operator, devices in seen.found:
        assert not any(word in operator for word in WAITS), operator
        assert devices <= {"meta"}, operator


class Refusing(Rehearsed):
    """Refuses to capture what waits for the host, as CUDA does."""

    def capture(
        self, run: Callable[[], Any], device: torch.device
    ) -> tuple[Any, Callable[[], object]]:
        with Seen() as seen:
            run()
        waiting = {name for name, _ in seen.found if any(word in name for word in WAITS)}
        assert not waiting, waiting
        return super().capture(run, device)


@torch.inference_mode()
def test_given_cameras_are_answered_on_every_call_and_captured_on_none() -> None:
    backbone, images = short("da3-tiny"), scene(3, 0)
    found = backbone(images)
    cameras = {"world_to_camera": found.world_to_camera, "intrinsics": found.intrinsics}
    captured = CapturedBackbone(backbone, graphs=Refusing())
    for _ in range(3):
        assert_same(captured(images, **cameras), backbone(images, **cameras))
        assert captured.last == "cameras are given, and to bring depth to their unit reads numbers"
    for last in ("a shape is captured when it comes for the second time", "captured"):
        captured(images)
        assert captured.last == last


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["vggt-tiny", "da3-tiny"])
@torch.inference_mode()
def test_cuda_graphs_give_the_bits_of_the_backbone(name: str) -> None:
    backbone = load_backbone(name, weights="random").eval().cuda()
    captured = CapturedBackbone(backbone, graphs=CudaGraphs())
    for seed in range(4):
        assert_same(captured(scene(3, seed).cuda()), backbone(scene(3, seed).cuda()))
    assert captured.last == "captured"
