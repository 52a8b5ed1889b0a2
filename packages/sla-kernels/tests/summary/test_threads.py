"""Each thread attends blocks of its own: who does which changes nothing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch

from .selections import by_operator, draw, few

MODES = [torch.inference_mode, torch.no_grad, torch.enable_grad]


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_answers_are_those_of_one_thread(
    count: int, mode: Callable[[], AbstractContextManager[None]], dtype: torch.dtype
) -> None:
    """Also of tensors of inference, and where gradients are asked for."""

    with mode():
        leaves = [x.to(dtype).requires_grad_(torch.is_grad_enabled()) for x in draw(700, 700)]
        selection = few(*leaves)
        with threads(1):
            expected = by_operator(*leaves, selection)
        with threads(count):
            found = by_operator(*leaves, selection)
    torch.testing.assert_close(found, expected)
