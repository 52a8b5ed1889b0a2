"""Amounts of memory, as people write and read them."""

from recon_backbones.errors import InputError

UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def parse_bytes(text: str | int) -> int:
    """Read an amount of memory: 8GB, 8 GiB, 512M, 2000000000.

    Raises InputError for anything else, and for nothing.
    """
    cleaned = str(text).strip().lower().replace(" ", "")
    digits = cleaned.rstrip("bkmgti")
    unit = cleaned[len(digits) :]
    binary, plain = unit.endswith(("ib", "i")), unit.removesuffix("b").removesuffix("i")
    try:
        amount = float(digits)
        factor = 1024 ** " kmgt".index(plain) if binary else UNITS[plain]
    except (ValueError, KeyError):
        raise InputError(
            f"budget={text!r}; it is no amount of memory: write 8GB, 500MB or 6GiB"
        ) from None
    if not 0 < amount * factor < 1e18:
        raise InputError(
            f"budget={text!r}; it is no amount of memory that a machine has: write 8GB"
        )
    return int(amount * factor)


def readable(size: int) -> str:
    """An amount of memory for people."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
