"""Whatever takes tensors refuses those of another shape, type or device by name and rule."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distill import (
    AttentionOutputs,
    CameraTokens,
    Consistency,
    Depth,
    Intrinsics,
    MasterOptimizer,
    Observation,
    Pair,
    Pose,
    Rays,
    Views,
    load_adapter,
    save_adapter,
)

MAPS, RAYS, TOKENS = torch.rand(2, 3, 8, 8) + 1, torch.rand(2, 3, 8, 8, 6), torch.rand(2, 12, 5)
RIG, IMAGES, MATRIX = (
    torch.eye(3, 4).repeat(2, 3, 1, 1),
    torch.rand(2, 3, 3, 8, 8),
    torch.rand(4, 4),
)
RIG[..., 3] = torch.rand(2, 3, 3)
LENSES = torch.tensor([[8.0, 0, 4], [0, 8, 4], [0, 0, 1]]).repeat(2, 3, 1, 1)
PAIR = Pair(teacher="t", student="s")


def seen(*, batch: object = None, pair: tuple = (TOKENS, TOKENS), **fields: tuple) -> Observation:
    """What both models said: of each field, and of the pair, the student's and the teacher's."""
    return Observation(
        batch=batch,
        outputs=None,
        student={PAIR.student_tap: [pair[0]]},
        teacher={PAIR.teacher_tap: [pair[1]]},
        student_fields={name: both[0] for name, both in fields.items()},
        teacher_fields={name: both[1] for name, both in fields.items()},
    )


def depth(one: Tensor, other: Tensor, conf: Tensor) -> Tensor:
    return Depth()(seen(depth=(one, other), depth_conf=(None, conf)))


def rays(one: Tensor, other: Tensor, conf: Tensor) -> Tensor:
    return Rays()(seen(rays=(one, other), rays_conf=(None, conf)))


def pose(one: Tensor, other: Tensor) -> Tensor:
    return Pose()(seen(world_to_camera=(one, other)))


def lenses(one: Tensor, other: Tensor) -> Tensor:
    return Intrinsics()(seen(intrinsics=(one, other)))


def agree(d: Tensor, e: Tensor, p: Tensor, q: Tensor, k: Tensor, m: Tensor) -> Tensor:
    return Consistency()(seen(depth=(d, e), world_to_camera=(p, q), intrinsics=(k, m)))


def outputs(one: Tensor, other: Tensor, loss: str = "mse") -> Tensor:
    return AttentionOutputs(pairs=(PAIR,), loss=loss)(seen(pair=(one, other)))


def camera_tokens(batch: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return CameraTokens(pairs=(PAIR,))(seen(batch=batch, pair=(one, other)))


def step(gradient: Tensor) -> None:
    MasterOptimizer(nn.Linear(4, 4), hidden=["weight"]).step({"weight": gradient}, 1.0)


def load(master: Tensor) -> None:
    optimizer = MasterOptimizer(nn.Linear(4, 4), hidden=["weight"])
    optimizer.load(optimizer.state() | {"master.weight": master})


def adapter(value: Tensor, folder: Path) -> None:
    save_adapter(folder / "a.safetensors", {"w": value})
    load_adapter(folder / "a.safetensors", {"w": torch.zeros(4, 4)})


CALLS: dict[str, tuple[Callable[..., object], tuple[Tensor, ...]]] = {
    "Depth": (depth, (MAPS, MAPS, MAPS)),
    "Rays": (rays, (RAYS, RAYS, MAPS)),
    "Pose": (pose, (RIG, RIG)),
    "Intrinsics": (lenses, (LENSES, LENSES)),
    "Consistency": (agree, (MAPS, MAPS, RIG, RIG, LENSES, LENSES)),
    "AttentionOutputs": (outputs, (TOKENS, TOKENS)),
    "cosine": (lambda one, other: outputs(one, other, "cosine"), (TOKENS, TOKENS)),
    "relative": (lambda one, other: outputs(one, other, "relative_mse"), (TOKENS, TOKENS)),
    "CameraTokens": (camera_tokens, (IMAGES, TOKENS, TOKENS)),
    "MasterOptimizer.step": (step, (MATRIX,)),
    "MasterOptimizer.load": (load, (MATRIX,)),
    "save_adapter": (adapter, (MATRIX,)),
    "Views": (lambda images: Views(lambda number: images).at(0), (IMAGES[0],)),
}
WRONG: dict[str, Callable[[Tensor], object]] = {
    "an axis more": lambda x: x[None],
    "a row less": lambda x: x[..., :-1],
    "half the batch": lambda x: x[:1],
    "no axes": lambda x: x.flatten()[0],
    "whole numbers": lambda x: x.int(),
    "another device": lambda x: x.to("meta"),
    "no tensor": lambda x: x.numpy(),
}
ANY = {"a row less", "half the batch"}  # images of any size, any number of them
TAKEN = {
    ("CameraTokens", 0): {*ANY, "whole numbers", "another device"},  # only counted
    ("CameraTokens", 1): {"an axis more", "half the batch"},  # 12 tokens are so many views, too
    ("CameraTokens", 2): {"an axis more", "half the batch"},
    ("save_adapter", 0): {"whole numbers"},  # codes of FP8 weights are kept as bytes
    ("Views", 0): {*ANY, "another device"},
    ("MasterOptimizer.load", 0): {"another device"},  # read from a file
}
RECORDED = {"AttentionOutputs", "cosine", "relative", "CameraTokens"}  # hooks give tensors alone
REFUSED = r"; (it|they|their \w+|names and shapes) must|need equally many|are needed to|Type-check"


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", CALLS)
def test_every_argument_is_checked_by_name(name: str, wrong: str, tmp_path: Path) -> None:
    function, arguments = CALLS[name]
    more = {"folder": tmp_path} if function is adapter else {}
    function(*arguments, **more)
    for position, right in enumerate(arguments):
        if wrong in TAKEN.get((name, position), ()):
            continue
        if wrong == "no tensor" and name in RECORDED:
            continue
        changed: list[object] = list(arguments)
        changed[position] = WRONG[wrong](right)
        with pytest.raises((ValueError, TypeError), match=REFUSED):
            function(*changed, **more)


@pytest.mark.parametrize("name", ["Depth", "Rays", "Pose", "Intrinsics", "cosine", "relative"])
def test_what_both_say_in_another_precision_is_the_same_loss(name: str) -> None:
    function, arguments = CALLS[name]
    other = [torch.rand_like(x) * 0.1 + x for x in arguments[:1]]
    single = function(*other, *arguments[1:])
    double = function(*(x.double() for x in (*other, *arguments[1:])))
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-6)
    assert float(single) > 0


def test_cameras_with_a_fourth_row_are_refused_of_both_models() -> None:
    square = torch.cat([RIG, torch.tensor([0.0, 0, 0, 1]).expand(2, 3, 1, 4)], dim=2)
    with pytest.raises((ValueError, TypeError), match=r"must be b v 3 4|Type-check"):
        pose(square, square)


def test_nothing_has_moved_where_one_of_several_gradients_does_not_fit() -> None:
    network = nn.Linear(4, 4)
    optimizer = MasterOptimizer(network, hidden=["weight"])
    before = [p.clone() for p in network.parameters()]
    with pytest.raises(ValueError, match=r"gradient of bias=tensor of shape \(3,\); it must be"):
        optimizer.step({"weight": torch.rand(4, 4), "bias": torch.rand(3)}, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert optimizer.steps == 0
