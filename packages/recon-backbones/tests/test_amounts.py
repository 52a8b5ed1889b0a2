"""Amounts of memory are read as people write them."""

import pytest

from recon_backbones.machine.amounts import parse_bytes


@pytest.mark.parametrize(
    ("text", "amount"),
    [("8GB", 8e9), ("8 GiB", 8 * 2**30), ("512M", 512e6), ("1.5g", 1.5e9), ("2000000", 2e6)],
)
def test_amounts_of_memory(text: str, amount: float) -> None:
    assert parse_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "GB", "8 apples", "-1GB", "0", "1e999", "nan"])
def test_what_is_no_amount_of_memory(text: str) -> None:
    with pytest.raises(ValueError, match="8GB"):
        parse_bytes(text)
