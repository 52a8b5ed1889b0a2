"""What evaluation costs."""

from .layout import load


def dtu() -> str:
    """The DTU protocol on a million points against a million."""
    record = load("dtu-million.json")
    seconds = ", ".join(f"{s:.1f}" for s in record["seconds"])
    return (
        f"{record['points']:,} predicted against as many reference points: {seconds} s, "
        f"{record['peak_resident_bytes'] / 1e9:.2f} GB resident, {record['workers']} cores, "
        f"{record['machine']}, Python {record['python']}."
    )
