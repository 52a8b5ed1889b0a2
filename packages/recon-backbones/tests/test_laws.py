"""Laws of rotation, token order, patches and attention that need no reference."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from recon_backbones import Attention, DenseAttention, MatmulAttention
from recon_backbones.blocks.patches import PatchEmbed, resize_positions
from recon_backbones.blocks.rope import RotaryTable, grid_positions, rotary_table, rotate
from recon_backbones.blocks.token_order import TILE, order_index
from recon_backbones.da3 import da3_tiny
from recon_backbones.da3.vit import _run, _Stage

CPU = torch.device("cpu")


@given(seed=st.integers(0, 10**6), move=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_products_depend_on_the_distance_only(seed: int, move: tuple[int, int]) -> None:
    torch.manual_seed(seed)
    q, k = torch.randn(2, 1, 2, 6, 16, dtype=torch.float64)
    positions = torch.randint(0, 20, (6, 2))
    moved = positions + torch.tensor(move)
    tables = [rotary_table(p, 16, base=100.0, dtype=torch.float64) for p in (positions, moved)]
    products = [rotate(q, t) @ rotate(k, t).mT for t in tables]
    torch.testing.assert_close(products[0], products[1], rtol=1e-4, atol=1e-4)


@given(seed=st.integers(0, 10**6))
def test_rotation_keeps_lengths_and_position_zero_turns_nothing(seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(1, 3, 5, 8, dtype=torch.float64)
    positions = torch.randint(0, 30, (5, 2))
    positions[0] = 0
    turned = rotate(x, rotary_table(positions, 8, base=100.0, dtype=torch.float64))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-5, atol=1e-6)
    assert torch.equal(turned[:, :, 0], x[:, :, 0])


def test_a_head_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        rotary_table(torch.zeros(1, 2, dtype=torch.int64), 6, base=100.0, dtype=torch.float32)
    with pytest.raises(ValueError, match="num_heads=3"):
        Attention(32, 3)


def test_grid_positions_start_at_one_behind_the_special_tokens() -> None:
    found = grid_positions(2, 3, special_tokens=2, device=CPU).tolist()
    assert found == [[0, 0], [0, 0], [1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [2, 3]]


@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_tiles_are_compact_and_undone_exactly(height: int, width: int) -> None:
    forward, back = order_index("tile8", (height, width), CPU)
    assert forward is not None and back is not None
    identity = torch.arange(height * width)
    assert torch.equal(forward[back], identity)
    assert torch.equal(forward.sort().values, identity)
    row, column = forward // width, forward % width
    tile = (row // TILE) * -(-width // TILE) + column // TILE
    assert (tile.diff() >= 0).all()  # tiles follow each other, none is split
    if height % TILE == 0 and width % TILE == 0:
        for block in forward.split(TILE * TILE):
            rows, columns = block // width, block % width
            assert rows.max() - rows.min() == columns.max() - columns.min() == TILE - 1


def test_raster_order_costs_nothing_and_others_are_refused() -> None:
    assert order_index("raster", (3, 4), CPU) == (None, None)
    with pytest.raises((ValueError, TypeError), match="hilbert"):
        order_index("hilbert", (3, 4), CPU)  # type: ignore[arg-type]


@given(seed=st.integers(0, 10**6), heads=st.sampled_from([1, 2, 4]))
def test_permuting_tokens_permutes_attention(seed: int, heads: int) -> None:
    torch.manual_seed(seed)
    attention = Attention(16, heads, qk_norm=True).double()
    x, order = torch.randn(2, 9, 16, dtype=torch.float64), torch.randperm(9)
    torch.testing.assert_close(attention(x)[:, order], attention(x[:, order]))


@given(seed=st.integers(0, 10**6), n=st.integers(1, 20), m=st.integers(1, 20))
def test_both_dense_cores_agree_with_their_gradients(seed: int, n: int, m: int) -> None:
    torch.manual_seed(seed)
    inputs = [torch.randn(1, 2, s, 8, dtype=torch.float64, requires_grad=True) for s in (n, m, m)]
    results = []
    for core in (DenseAttention(), MatmulAttention()):
        out = core(*inputs)
        results.append((out, *torch.autograd.grad(out.square().sum(), inputs)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_patches_come_in_raster_order() -> None:
    embed = PatchEmbed(2, 4)
    image = torch.zeros(1, 3, 4, 6)
    image[..., 2:, 4:] = 1  # the last of six patches
    tokens = embed(image)
    assert tokens.shape == (1, 6, 4)
    assert all(torch.equal(tokens[0, i], tokens[0, 0]) for i in range(5))
    assert not torch.equal(tokens[0, 5], tokens[0, 0])


@pytest.mark.parametrize("by", ["size", "offset_scale"])
def test_a_constant_table_stays_constant(by: str) -> None:
    table = torch.full((1, 1 + 9, 2), 0.3)
    resized = resize_positions(table, (5, 4), by=by)  # type: ignore[arg-type]
    assert resized.shape == (1, 21, 2)
    torch.testing.assert_close(resized, torch.full_like(resized, 0.3))
    assert resize_positions(table, (3, 3), by=by) is table  # type: ignore[arg-type]


def test_runs_of_16_and_of_64_tokens_are_squares() -> None:
    forward, _ = order_index("tile8", (16, 24), CPU)
    assert forward is not None
    for run, side in ((16, 4), (64, 8)):
        for tokens in forward.split(run):
            row, column = tokens // 24, tokens % 24
            assert int(row.max() - row.min()) == int(column.max() - column.min()) == side - 1


def storage(x: torch.Tensor) -> int:
    return x.untyped_storage().data_ptr()


def test_queries_keys_and_values_are_views_of_one_product() -> None:
    """Splitting the heads copies nothing."""
    attention = Attention(24, 3)
    seen: dict[str, torch.Tensor] = {}

    class Core(DenseAttention):
        def forward(self, q, k, v, *, pinned=None):  # type: ignore[no-untyped-def]
            seen.update(q=q, k=k, v=v)
            return super().forward(q, k, v)

    attention.core = Core()
    attention.qkv.register_forward_hook(lambda _, __, out: seen.update(product=out))
    attention(torch.randn(2, 5, 24))
    assert {storage(seen[name]) for name in "qkv"} == {storage(seen["product"])}
    order = [seen[name].storage_offset() for name in "qkv"]
    assert order == [0, 24, 48]


@pytest.mark.parametrize("index", [0, 3])
def test_views_become_sequences_without_a_copy(index: int) -> None:
    """Frame attention sees each view by itself, global attention all views: the same memory."""
    config = da3_tiny()
    x = torch.randn(2, 3, 5, 8)
    seen: list[torch.Tensor] = []

    class Block(nn.Module):
        def forward(self, x: torch.Tensor, **_: object) -> torch.Tensor:
            seen.append(x)
            return x

    stage = _Stage(rope=RotaryTable(x, x), pinned=torch.zeros(1))
    back = _run(Block(), x, stage, index, config)
    assert tuple(seen[0].shape) == ((2, 15, 8) if config.is_global(index) else (6, 5, 8))
    assert storage(seen[0]) == storage(back) == storage(x)
    assert torch.equal(back, x)


@pytest.mark.parametrize(
    "shape", [(2, 3, 257, 64), (1, 2, 1, 32), (7, 3, 201, 64), (2, 5, 1000, 16), (1, 1, 1100, 64)]
)
def test_products_of_bfloat16_are_attention(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recon_backbones.blocks.attention.multiplies_bfloat16", lambda: True)
    q, k, v = (x.transpose(1, 2) for x in torch.randn(3, shape[0], shape[2], shape[1], shape[3]))
    expected = DenseAttention()(q.double(), k.double(), v.double())
    given = [x.bfloat16() for x in (q, k, v)]
    with torch.inference_mode():
        found = DenseAttention()(*given)
    assert found.dtype == torch.bfloat16
    assert (found - expected).norm() <= 0.01 * expected.norm()
    learned = DenseAttention()(*(x.requires_grad_() for x in given))
    assert "ScaledDotProduct" in type(learned.grad_fn).__name__
