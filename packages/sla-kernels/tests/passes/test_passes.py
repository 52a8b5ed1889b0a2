"""Passes compiled by Numba, against the operations of PyTorch that they stand for."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import sla_kernels
from sla_kernels import select_rows, sla_attention
from sla_kernels.order.median import median_order
from sla_kernels.runtime import passes as where
from sla_kernels.runtime.products import product_type
from sla_kernels.summary.rows import permuted

from ..cases import qkv, turned

calls = pytest.importorskip("sla_kernels.passes.calls", reason="needs Numba")


@pytest.fixture
def by_pytorch(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """What a call gives where Numba is not installed."""

    def run(call, *given, **settings):  # type: ignore[no-untyped-def]
        with monkeypatch.context() as patch:
            patch.setattr(where, "_installed", lambda: False)
            assert where.passes_for(torch.ones(1)) is None
            return call(*given, **settings)

    return run


class Case(NamedTuple):
    """Sizes of one call."""

    n: int = 517
    m: int = 517
    h: int = 2
    g: int = 2
    d: int = 32
    block: tuple[int, int] = (64, 4)
    sizes: tuple[int, ...] | None = (4, 32, 128)
    pinned: tuple[int, ...] = ()
    keep: int = 9
    scenes: int = 1
    opened: int = 5


CASES = [
    Case(),
    Case(n=1031, m=1031, d=24, sizes=(4, 16, 64, 256), keep=20),
    Case(n=300, m=515),
    Case(n=515, m=515, pinned=(0, 7, 512)),
    Case(h=4, g=2, pinned=(3,)),
    Case(block=(16, 8), sizes=(8, 64)),
    Case(block=(128, 2), sizes=(2, 16)),
    Case(block=(80, 4), sizes=None),
    Case(n=301, m=301, block=(64, 16), sizes=(16,), keep=1),
    Case(scenes=2, n=401, m=401, pinned=(400,)),
    Case(n=968, m=968, sizes=(4, 32, 96), opened=32),  # more than there are in the last coarse cell
]


def drawn(case: Case, dtype: torch.dtype) -> list[Tensor]:
    """Tokens of several scenes, strided as a fused projection leaves them."""
    made = [
        qkv(case.n, case.m, h=case.h, g=case.g, d=case.d, dtype=dtype) for _ in range(case.scenes)
    ]
    return made[0] if case.scenes == 1 else [torch.cat(list(x)) for x in zip(*made, strict=True)]


def settings_of(case: Case) -> dict[str, Any]:
    pinned = torch.tensor(case.pinned, dtype=torch.int64) if case.pinned else None
    named = {"keep": case.keep, "block": case.block, "summary": case.sizes, "axes": 6}
    return {**named, "opened": case.opened, "pinned": pinned}


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("poisoned_empty")
def test_who_does_which_part_changes_nothing(case: Case, threads: int) -> None:
    q, k, v = drawn(case, torch.float32)

    def run() -> list[Tensor]:
        found = select_rows(q, k, v, **settings_of(case))
        out = sla_attention(q, k, v, linear=None, backend="eager", selection=found)
        return [found.order, found.rows, found.tilt, out]

    before, made = torch.get_num_threads(), []
    for count in (1, threads):
        torch.set_num_threads(count)
        made.append(run())
    torch.set_num_threads(before)
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("poisoned_empty")
def test_passes_choose_what_pytorch_chooses(case: Case, dtype: torch.dtype, by_pytorch) -> None:  # type: ignore[no-untyped-def]
    q, k, v = drawn(case, dtype)
    if product_type(k) != dtype:
        pytest.skip("this processor multiplies no bfloat16")
    chosen = settings_of(case)
    assert where.passes_for(q, k, v) is calls
    found = select_rows(q, k, v, **chosen)
    expected = by_pytorch(select_rows, q, k, v, **chosen)
    assert found.exact < found.key_blocks
    assert torch.equal(found.order, expected.order)
    assert torch.equal(found.rows.sort(3).values, expected.rows.sort(3).values)
    torch.testing.assert_close(found.tilt, expected.tilt, atol=0.02, rtol=0.02)
    attend = {"linear": None, "backend": "eager", "selection": expected}
    here, there = sla_attention(q, k, v, **attend), by_pytorch(sla_attention, q, k, v, **attend)
    near = (
        {"atol": 2e-2, "rtol": 0.02} if dtype == torch.bfloat16 else {}
    )  # biases rounded, rows twice
    torch.testing.assert_close(here, there, **near)


@given(
    tokens=st.integers(1, 700),
    axes=st.integers(1, 16),
    sizes=st.sampled_from([(1,), (4,), (4, 64), (2, 6, 36), (4, 64, 512)]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_halving_is_that_of_pytorch(
    tokens: int, axes: int, sizes: tuple[int, ...], seed: int
) -> None:
    features = torch.randn(2, tokens, axes, generator=torch.Generator().manual_seed(seed))
    before = features.clone()
    assert torch.equal(calls.halved(features, sizes), median_order(features, sizes))
    assert torch.equal(features, before)


def test_equal_tokens_keep_their_order_and_nan_comes_last() -> None:
    features = torch.randn(30, 5)[torch.randint(0, 30, (3, 256))]
    features[0, 7] = torch.nan
    found = calls.halved(features, (4,))
    assert found[0, -1] == 7
    for scene, order in zip(features[1:], found[1:], strict=True):
        places = {tuple(token.tolist()): [] for token in scene}  # type: ignore[var-annotated]
        for place in order.tolist():
            places[tuple(scene[place].tolist())].append(place)
        assert all(same == sorted(same) for same in places.values())


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf, 3e38])
def test_what_is_not_finite_misleads_no_other_choice(broken: float, by_pytorch) -> None:  # type: ignore[no-untyped-def]
    q, k, v = qkv(515, 515)
    k[0, 1, 77, 3] = broken
    v[0, 0, 78, 5] = broken
    q[0, 0, 300, 1] = broken
    order = torch.arange(515)
    settings = {"keep": 9, "opened": 5, "summary": (4, 32, 128), "order": lambda _: order[None]}
    found = select_rows(q, k, v, **settings)
    expected = by_pytorch(select_rows, q, k, v, **settings)
    assert torch.equal(found.rows[:, 1].sort(2).values, expected.rows[:, 1].sort(2).values)
    assert torch.isfinite(found.tilt[:, :, :515]).all()


def test_types_and_places_that_passes_cannot_read_are_left_to_pytorch() -> None:
    assert where.passes_for(torch.ones(2, dtype=torch.float64)) is None
    assert where.passes_for(torch.ones(2, dtype=torch.float16)) is None
    assert where.passes_for(torch.ones(2, device="meta")) is None
    assert where.passes_for(torch.ones(2), torch.ones(2, dtype=torch.float64)) is None


@pytest.mark.parametrize(("queries", "heads"), [(515, 2), (512, 1)])
def test_tokens_whose_features_lie_apart_are_read_as_well(
    queries: int,
    heads: int,
    by_pytorch,  # type: ignore[no-untyped-def]
) -> None:
    q, k, v = (turned(x) for x in qkv(queries, 515, h=heads, g=heads))
    chosen = {"keep": 9, "opened": 5, "summary": (4, 32, 128)}
    found = select_rows(q, k, v, **chosen)
    expected = by_pytorch(select_rows, q, k, v, **chosen)
    assert torch.equal(found.rows.sort(3).values, expected.rows.sort(3).values)


def test_a_numba_that_cannot_be_imported_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> object:
        raise ImportError("Numba needs NumPy 1.0 or less")

    monkeypatch.setattr(where, "import_module", refuse)
    where._installed.cache_clear()
    try:
        with pytest.warns(UserWarning, match="NumPy 1.0 or less"):
            assert where.passes_for(torch.ones(1)) is None
        assert where.passes_for(torch.ones(1)) is None
    finally:
        where._installed.cache_clear()


def test_an_edit_of_what_passes_are_made_of_compiles_them_anew(tmp_path: Path) -> None:
    package = tmp_path / "sla_kernels"
    shutil.copytree(Path(str(sla_kernels.__file__)).parent, package)
    for kept in package.rglob("*.nb?"):
        kept.unlink()
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import torch; from sla_kernels.passes import calls, cells\n"
        "x = torch.full((1, 1, 8, 4), 0.125)\n"
        "made = calls.attend_all(x, x, x, 1.0)\n"
        "print(made[0, 0, 0, 0].item(), len(calls.blocks.attend.stats.cache_hits))\n"
    )

    def run() -> str:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert [run(), run()] == ["0.125 0", "0.125 1"]
    scalar = package / "passes" / "scalar.py"
    text = scalar.read_text()
    assert text.count("out[at] = value\n") == 1
    scalar.write_text(text.replace("out[at] = value\n", "out[at] = value + value\n"))
    assert run() == "0.25 0"


def test_a_numba_that_compiles_nothing_is_left_out() -> None:
    program = (
        "import numba; numba.config.DISABLE_JIT = True  # as NUMBA_DISABLE_JIT=1 leaves it\n"
        "import torch; from sla_kernels import select_rows; q = torch.randn(1, 2, 600, 8)\n"
        "print(select_rows(q, q, q, keep=2, axes=2).density < 1)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.strip() == b"True"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 2])
def test_what_stands_in_order_is_put_back_where_its_tokens_stand(
    dtype: torch.dtype, threads: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = torch.randn(2, 3, 5120, 9).to(dtype)[:, :, :5003, :7]  # padding is left out
        order = torch.stack([torch.randperm(5010)[:5003] for _ in range(2)])  # some are pinned
        out = torch.full((2, 5, 5010, 7), torch.nan, dtype=dtype)
        calls.put_back(found, order, out[:, 1:4])
        expected = torch.full_like(out, torch.nan)
        for scene in range(2):
            expected[scene, 1:4, order[scene]] = found[scene]
        torch.testing.assert_close(out, expected, equal_nan=True, rtol=0, atol=0)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("poisoned_empty")
def test_tokens_are_put_in_order_as_pytorch_would(
    dtype: torch.dtype,
    threads: int,
    by_pytorch,  # type: ignore[no-untyped-def]
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x = turned(torch.randn(2, 3, 1301, 7).to(dtype))
        order = torch.stack([torch.randperm(1301)[:1290] for _ in range(2)])  # some are pinned
        for size in (1, 64):
            expected = by_pytorch(permuted, x, order, size)
            assert torch.equal(calls.put_in_order(x, order, size), expected)
    finally:
        torch.set_num_threads(before)
