"""What depends on the device, the system and on what is installed, without any of them."""

import sys
from collections import namedtuple
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from recon_backbones import load_backbone
from recon_backbones.blocks import precision
from recon_backbones.blocks.precision import half_type, in_float64, without_autocast
from recon_backbones.blocks.transformer import slice_blocks, steps_before_layers
from recon_backbones.da3.upstream import Upstream, upstream
from recon_backbones.machine import free
from recon_backbones.registry import build_on_meta
from recon_backbones.weights.digest import weights_digest


@pytest.mark.parametrize(
    ("capability", "hip", "there", "expected"),
    [
        ((7, 5), None, True, torch.float16),
        ((8, 0), None, True, torch.bfloat16),
        ((9, 0), None, True, torch.bfloat16),
        ((7, 5), "6.0", True, torch.bfloat16),  # AMD counts otherwise
        ((7, 5), None, False, torch.bfloat16),
    ],
)
def test_16_bits_are_float16_where_bfloat16_is_missing(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int], hip: str | None, there: bool, expected: torch.dtype,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert half_type("cuda") == expected
    assert half_type("cpu") == torch.bfloat16
    assert half_type("mps") == torch.float16


def test_float64_and_autocast_where_a_device_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for without in ("mps", "cpu"):  # as if that one had none
        monkeypatch.setattr(precision, "NO_FLOAT64", (without,))
        assert in_float64(torch.ones(2)).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16), without_autocast(torch.ones(1)):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with without_autocast(torch.ones(1, device="meta")):
        assert not torch.is_autocast_enabled("cpu")


class _WithoutFloat64(TorchFunctionMode):
    """Makes of the meta device one that has no float64, as Apple's, and whose tensors hold ones."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.cpu and args[0].is_meta:
            return torch.ones(args[0].shape, dtype=args[0].dtype)
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.is_meta and made.dtype == torch.float64:
            raise TypeError(f"{func} makes float64, which this device has not")
        return made


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("da3-tiny", {"given": True}),
        ("da3-tiny", {"cameras": "rays"}),
        ("da3nested-tiny", {}),
        ("da3nested-tiny", {"given": True}),
        ("da3metric-tiny", {"given": True}),
        ("vggt-tiny", {}),
    ],
)
@torch.inference_mode()
def test_networks_run_where_a_device_has_no_float64(
    monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(precision, "NO_FLOAT64", ("meta",))
    options, known = dict(options), {}
    if options.pop("given", False):
        known["world_to_camera"] = torch.empty(1, 3, 3, 4, device="meta")
        known["intrinsics"] = torch.empty(1, 3, 3, 3, device="meta")
    images = torch.empty(1, 3, 3, 28, 42, device="meta")
    with _WithoutFloat64():
        found = build_on_meta(name)(images, **known, **options)
    assert found.depth.dtype == found.world_to_camera.dtype == torch.float32
    assert found.depth.is_meta and found.world_to_camera.is_meta


def test_memory_that_may_be_taken_is_most_of_the_least_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = {"_container": 1000, "_process": None}
    for name, value in limits.items():
        monkeypatch.setattr(free, name, lambda value=value: value)
    assert free.available("cpu") == 900
    monkeypatch.setattr(free, "_process", lambda: 100)
    assert free.available("cpu") == 90
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (50, 1000))
    assert free.available("cuda:0") == 45


def test_a_limit_of_the_process_counts_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    Held = namedtuple("Held", "vms")
    process = SimpleNamespace(rlimit=lambda kind: (700, 700), memory_info=lambda: Held(vms=500))
    monkeypatch.setattr(free.psutil, "Process", lambda: process)
    assert free._process() == 200
    process.memory_info = lambda: Held(vms=900)
    assert free._process() == 0
    process.rlimit = lambda kind: (free.psutil.RLIM_INFINITY, 0)
    assert free._process() is None
    monkeypatch.setattr(free.psutil, "Process", lambda: SimpleNamespace())  # as on a Mac
    assert free._process() is None


def test_a_control_group_without_a_limit_leaves_all(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"memory.max": "max", "memory.current": "5"}
    monkeypatch.setattr(free.Path, "read_text", lambda path: files[path.name])
    assert free._container() is None
    files["memory.max"] = "30"
    assert free._container() == 25
    files["memory.current"] = "31"
    assert free._container() == 0


def test_steps_before_layers_name_modules_that_are_there_and_fit() -> None:
    backbone = load_backbone("da3-tiny", weights="random")
    pairs = steps_before_layers(backbone)
    named = dict(backbone.named_modules())
    assert len(pairs) == len(set(pairs)) > 0
    for before, after in pairs:
        assert isinstance(named[after], nn.Linear)
        shape = getattr(named[before], "normalized_shape", (named[after].in_features,))
        assert tuple(shape) == (named[after].in_features,)


def test_slices_need_a_block_and_a_token() -> None:
    with pytest.raises(ValueError, match="it holds no transformer block to slice"):
        slice_blocks(nn.Linear(2, 2), 4)
    with pytest.raises(ValueError, match="tokens=0; it must be at least 1"):
        slice_blocks(load_backbone("da3-tiny", weights="random"), 0)


def test_a_digest_changes_with_one_bit_a_name_or_a_type_and_with_nothing_else() -> None:
    one, other = (load_backbone("da3-tiny", weights="bundled") for _ in range(2))
    before = weights_digest(one)
    assert len(before) == 64 and weights_digest(other) == before
    parameter = next(other.parameters())
    with torch.no_grad():
        parameter.view(-1)[0] = torch.nextafter(parameter.view(-1)[0], torch.tensor(9.0))
    assert weights_digest(other) != before
    assert weights_digest(one.double()) != before


def test_a_missing_upstream_says_so_and_is_not_built() -> None:
    build, why = upstream("da3-large")
    assert why and "is not installed" in why
    with pytest.raises(ValueError, match="it is not built then: install its wheel"):
        build(nn.Linear(1, 1))


class Theirs(nn.Module):
    """A network whose answer shows what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.head = nn.Module()

    def forward(self, images: torch.Tensor, *rest: object) -> dict[str, torch.Tensor]:
        assert rest[-1] == "saddle_balanced"
        return {"depth": images[:, :, 0].unsqueeze(-1)}


def test_upstreams_network_takes_our_weights_and_normalized_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = ModuleType("depth_anything_3.cfg")
    config.load_config, config.create_object = (lambda path: path), (lambda read: Theirs())
    registry = ModuleType("depth_anything_3.registry")
    registry.MODEL_REGISTRY = {"da3-large": "large.yaml"}
    for module in (ModuleType("depth_anything_3"), config, registry):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    assert upstream("da3-none")[1] == "depth_anything_3 has no da3-none"
    build, why = upstream("da3-large")
    assert why is None
    ours = nn.Module()
    ours.model = Theirs()
    made = build(ours)
    assert isinstance(made, Upstream) and not made.training
    assert torch.equal(made.net.layer.weight, ours.model.layer.weight)
    images = torch.rand(1, 2, 3, 4, 4)
    torch.testing.assert_close(made(images).depth, (images[:, :, 0] - 0.485) / 0.229)
    ours.model.extra = nn.Linear(1, 1)
    with pytest.raises(ValueError, match=r"differ in extra\.weight, extra\.bias; they must be of"):
        build(ours)
