"""The table of tiles: which entry a device gets."""

import pytest
import torch

from sla_kernels.runtime.tiles import INTERPRETED, TABLE, Tile, architecture_of, tiles_of


@pytest.mark.parametrize(
    ("capability", "entry"),
    [
        ((8, 0), "sm_80"),
        ((8, 9), "sm_86"),
        ((9, 0), "sm_90"),
        ((10, 3), "sm_100"),
        ((12, 1), "sm_120"),
    ],
)
def test_a_gpu_gets_the_nearest_older_entry(
    capability: tuple[int, int], entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert architecture_of.__wrapped__(torch.device("cuda", 0)) == entry


def test_a_gpu_older_than_the_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(
        ValueError, match="cuda:0 is sm_75; the Triton kernels have tiles for sm_80"
    ):
        architecture_of.__wrapped__(torch.device("cuda", 0))


def test_the_interpreter_walks_the_tiles_of_a_real_gpu() -> None:
    assert architecture_of(torch.device("cpu")) == INTERPRETED
    assert INTERPRETED in TABLE


@pytest.mark.parametrize("architecture", TABLE)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("width", [32, 64, 96, 128])
def test_tiles_divide_the_blocks(architecture: str, dtype: torch.dtype, width: int) -> None:
    for block in ((16, 16), (64, 64), (128, 64), (256, 256)):
        for tile in vars(tiles_of(architecture, dtype, width)).values():
            fitted = tile.within(block)
            assert block[0] % fitted.m == 0 and block[1] % fitted.n == 0


def test_a_tile_that_shrinks_gives_up_warps() -> None:
    tile = Tile(m=128, n=64, warps=8, stages=3)
    assert tile.within((128, 64)) == tile
    assert tile.within((32, 32)) == Tile(m=32, n=32, warps=4, stages=3)
    assert tile.within((64, 64)).warps == 8
