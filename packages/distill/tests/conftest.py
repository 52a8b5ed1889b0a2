"""A teacher and a student for every test, and how often runs are killed.

PyTorch is imported where fixtures are made: a process that hands out tests starts without it.
"""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def models() -> Callable[..., Any]:
    """Makes a teacher and a student."""
    from .networks import make_models

    return make_models


@pytest.fixture
def batches() -> list[Any]:
    import torch

    generator = torch.Generator().manual_seed(3)
    return [torch.randn(2, 6, 8, generator=generator) for _ in range(4)]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Networks this small lose time to threads that wait for each other."""
    import torch

    torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kill-points", type=int, default=12, help="how often test_faults kills a run"
    )
