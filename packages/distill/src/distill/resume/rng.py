"""Random numbers that depend on the run's seed and the batch number alone.

Every generator is seeded anew before each batch, so that a resumed run, another number of
processes, or an evaluation in between draws the same numbers as an uninterrupted run.
"""

import hashlib
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def seed_for(seed: int, *place: int | str) -> int:
    """Return a seed of 63 bits for one place in a run, such as (batch number,)."""
    text = repr((int(seed), *place)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def seed_all(seed: int, *place: int | str) -> None:
    """Seed Python, NumPy (where it is loaded) and PyTorch, on the CPU and every GPU in use."""
    value = seed_for(seed, *place)
    random.seed(value)
    torch.default_generator.manual_seed(value)  # torch.manual_seed takes 1 ms without a GPU
    if _cuda_in_use():
        torch.cuda.manual_seed_all(value)
    if numpy := _numpy():
        numpy.random.seed(value % 2**32)


@contextmanager
def isolated_rng() -> Iterator[None]:
    """Leave every random generator as it was before the block."""
    python, cpu, numpy = random.getstate(), torch.get_rng_state(), _numpy()
    numpy_state = numpy.random.get_state() if numpy else None
    cuda = torch.cuda.get_rng_state_all() if _cuda_in_use() else None
    try:
        yield
    finally:
        random.setstate(python)
        torch.set_rng_state(cpu)
        if numpy:
            numpy.random.set_state(numpy_state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def _cuda_in_use() -> bool:
    return bool(torch.cuda.is_initialized())


def _numpy() -> Any:
    return sys.modules.get("numpy")
