"""Attention of listed rows by vectors of the processor, against its definition in float64."""

import subprocess
import sys
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sla_kernels.summary.layout import Layout
from sla_kernels.summary.rows import ABSENT, Rows

from ..cases import turned

calls = pytest.importorskip("sla_kernels.passes.calls", reason="needs Numba")
lanes = pytest.importorskip("sla_kernels.passes.attention.lanes")
TYPES = [x for x in (torch.float32, torch.bfloat16) if calls.attends(torch.ones(1, 1, 1, 2).to(x))]
NEAR = {torch.float32: {"atol": 2e-5, "rtol": 2e-5}, torch.bfloat16: {"atol": 2e-2, "rtol": 1e-2}}


def defined(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | float = 0.0) -> Tensor:
    """Softmax over all keys."""
    group = q.shape[1] // k.shape[1]
    k, v = (x.double().repeat_interleave(group, 1) for x in (k, v))
    return (scale * q.double() @ k.mT + bias).softmax(-1) @ v


class Case(NamedTuple):
    """Sizes of dense attention."""

    scenes: int
    g: int
    group: int
    n: int
    m: int
    d: int
    strided: bool


CASES = st.builds(
    Case,
    scenes=st.integers(1, 2),
    g=st.integers(1, 2),
    group=st.integers(1, 3),
    n=st.integers(1, 150),
    m=st.integers(1, 300),
    d=st.sampled_from([2, 6, 24, 64, 66, 130]),
    strided=st.booleans(),
)


@given(case=CASES, dtype=st.sampled_from(TYPES), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_dense_attention_is_its_definition(case: Case, dtype: torch.dtype, seed: int) -> None:
    drawn, (scenes, g, group, n, m, d, strided) = torch.Generator().manual_seed(seed), case
    sizes = (scenes, g * group, n, d), (scenes, g, m, d), (scenes, g, m, d)
    q, k, v = (2 * torch.randn(size, generator=drawn).to(dtype) for size in sizes)
    if strided:
        q, k, v = (turned(x) for x in (q, k, v))
    found = calls.attend_all(q, k, v, d**-0.5)
    torch.testing.assert_close(found.double(), defined(q, k, v, d**-0.5), **NEAR[dtype])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("block_q", [32, 48, 64, 80, 128])
@pytest.mark.usefixtures("poisoned_empty")
def test_lists_are_attended_with_their_bias_and_pinned_queries_attend_all(
    block_q: int, dtype: torch.dtype
) -> None:
    layout, d, scale = Layout(tokens=203, pinned=3, sizes=(4, 32)), 40, 0.3
    keys, values = (torch.randn(2, 2, layout.rows, d).to(dtype) for _ in range(2))
    bias = torch.randn(2, 2, layout.rows)
    bias[:, :, : layout.tokens], bias[:, :, layout.first(2) :] = 0, 0
    bias[:, :, layout.nothing] = ABSENT
    keys[:, :, layout.nothing], values[:, :, layout.nothing] = 0, 0
    blocks = -(-layout.tokens // block_q)
    lists = torch.stack([torch.randperm(layout.rows)[:101] for _ in range(8 * blocks)])
    lists = lists.reshape(2, 4, blocks, 101).int()
    q = torch.randn(2, 4, 206, d).to(dtype)
    places = torch.stack([torch.randperm(206) for _ in range(2)])
    orders, out = (places[:, :3], places[:, 3:]), torch.full_like(q, torch.nan)

    calls.attend(q, Rows(keys, values, bias), lists, orders, layout, block_q, scale, out)

    every = torch.cat([torch.arange(203), torch.arange(layout.first(2), layout.nothing)])
    for scene in range(2):
        for head in range(4):
            table = keys[scene, head // 2], values[scene, head // 2], bias[scene, head // 2]
            for place, position in enumerate(places[scene].tolist()):
                block = (place - 3) // block_q
                listed = every if place < 3 else lists[scene, head, block].long()
                k, v, added = (x[listed] for x in table)
                asked = q[scene, head, position][None, None, None]
                expected = defined(asked, k[None, None], v[None, None], scale, added.double())
                found = out[scene, head, position].double()
                torch.testing.assert_close(found, expected[0, 0, 0], **NEAR[dtype])


@pytest.mark.parametrize("dtype", TYPES)
def test_scores_of_any_size_are_attended(dtype: torch.dtype) -> None:
    """The largest come late, so that what was found before shrinks to nothing."""
    q, v = torch.ones(1, 1, 70, 2).to(dtype), torch.randn(1, 1, 600, 2).to(dtype)
    k = torch.linspace(-3000, 3000, 600)[:, None].expand(1, 1, 600, 2).to(dtype)
    for keys in (k, k.flip(2)):
        found = calls.attend_all(q, keys, v, 1.0)
        torch.testing.assert_close(found.double(), defined(q, keys, v, 1.0), **NEAR[dtype])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("broken", [torch.nan, -torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_reaches_what_it_reaches_by_definition(
    broken: float, dtype: torch.dtype
) -> None:
    q, k, v = (torch.rand(1, 2, 200, 4).to(dtype) for _ in range(3))
    q[0, 0, 17, 1] = broken
    k[0, 1, 150, 2] = broken
    found = calls.attend_all(q, k, v, 1.0)
    expected = defined(q, k, v, 1.0)
    torch.testing.assert_close(found.double(), expected, equal_nan=True, **NEAR[dtype])
    assert found[0, 0, 16].isfinite().all()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("keys", range(96, 106))
def test_an_infinite_value_of_the_last_key_is_infinite_whatever_is_taken_at_a_time(
    keys: int, dtype: torch.dtype
) -> None:
    q, k, v = (torch.rand(1, 1, n, 4).to(dtype) for n in (3, keys, keys))
    v[0, 0, -1, 2] = torch.inf
    found = calls.attend_all(q, k, v, 1.0)
    torch.testing.assert_close(found.double(), defined(q, k, v, 1.0), **NEAR[dtype])


def test_every_not_a_number_stays_one() -> None:
    if torch.float32 not in TYPES:
        pytest.skip("this processor's vectors of float32 are not used")
    bits = torch.tensor([0x7F800001, 0x7FC001FF, -0x7FFFFF], dtype=torch.int32)
    for broken in bits.view(torch.float32):
        k = torch.zeros(1, 1, 5, 1)
        k[0, 0, 3, 0] = broken
        assert calls.attend_all(k, k, torch.ones(1, 1, 5, 1), 1.0)[0, 0, 0].isnan()


@pytest.mark.parametrize("features", ["+avx2,+fma", "+sse4.2"])
def test_narrower_vectors_find_the_same(features: str) -> None:
    if torch.float32 not in TYPES or lanes.LANES < 8:
        pytest.skip("needs a processor with AVX2")
    program = (
        "import numba; numba.config.CPU_NAME = 'x86-64'\n"
        f"numba.config.CPU_FEATURES = {features!r}\n"
        "import torch; from sla_kernels.passes import calls\n"
        "from sla_kernels.passes.attention import lanes\n"
        "torch.manual_seed(0); q, k, v = (torch.randn(1, 2, 300, 36) for _ in range(3))\n"
        "print(lanes.LANES, calls.attends(q), calls.attends(q.bfloat16()))\n"
        "from torch.nn.functional import scaled_dot_product_attention as dense\n"
        "torch.testing.assert_close(calls.attend_all(q, k, v, 1 / 6), dense(q, k, v))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["8", str("avx2" in features), "False"]


def test_small_blocks_and_odd_pairs_are_left_to_products() -> None:
    x = torch.ones(1, 1, 1, 3)
    assert not calls.attends(x.bfloat16())
    assert not calls.attends(x, block_q=4)
