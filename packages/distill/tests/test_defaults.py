"""Where PyTorch makes tensors unless told is the caller's matter."""

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from distill import (
    DistillConfig,
    Fit,
    MasterOptimizer,
    Pair,
    Shuffled,
    Views,
    add_lora,
    distill,
    fit_projections,
    merge_lora,
    mixture,
)


class Mix(nn.Module):
    """What is there, and a projection of something else."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.proj_l = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.proj_l(x.tanh())


PAIR = Pair(teacher="0", student="0")
TEACHER, STUDENT = nn.Sequential(Mix()), nn.Sequential(Mix())
BATCHES = [torch.randn(2, 6, 8) for _ in range(4)]
ITEMS = [torch.full((2,), float(i)) for i in range(7)]
IMAGES = torch.rand(5, 3, 2, 2)


def trained(student: nn.Module) -> None:
    distill(student, TEACHER, BATCHES, pairs=[PAIR], config=DistillConfig(steps=3, ema_decay=0.9))


def updated(student: nn.Module) -> None:
    add_lora(student, "*.base", rank=2)
    trained(student)
    merge_lora(student)


def solved(student: nn.Module) -> None:
    fit_projections(student, TEACHER, BATCHES, [Fit(pair=PAIR, layer="0.proj_l")], count=4)


def mastered(student: nn.Module) -> None:
    optimizer = MasterOptimizer(student, hidden=["0.base.weight"])
    for _ in range(2):
        optimizer.step({n: torch.ones_like(p) for n, p in student.named_parameters()}, 1.0)
        optimizer.load(optimizer.state())


@pytest.fixture
def default() -> Iterator[Callable[[], None]]:
    """Sets another default when called: a device without numbers stands in for a GPU."""
    yield lambda: torch.set_default_device("meta")
    torch.set_default_device(None)


@pytest.mark.parametrize("change", [trained, updated, solved, mastered])
def test_a_student_learns_the_same_whatever_device_is_the_default(
    change: Callable[[nn.Module], None], default: Callable[[], None]
) -> None:
    students = [copy.deepcopy(STUDENT) for _ in range(2)]
    torch.manual_seed(0)
    change(students[0])
    default()
    torch.manual_seed(0)
    change(students[1])
    for one, other in zip(*(student.parameters() for student in students), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(students[0][0].proj_l.weight, STUDENT[0].proj_l.weight)


def test_batches_are_the_same_whatever_device_is_the_default(default: Callable[[], None]) -> None:
    def drawn() -> list[Tensor]:
        torch.manual_seed(0)
        mixed = mixture([BATCHES, [x + 1 for x in BATCHES]], (3, 1), seed=0)
        sources = mixed, Shuffled(ITEMS, batch_size=2), Views(lambda _: IMAGES, views=3)
        return [source.at(index) for source in sources for index in range(6)]

    plain = drawn()
    default()
    for one, other in zip(drawn(), plain, strict=True):
        assert torch.equal(one, other)
