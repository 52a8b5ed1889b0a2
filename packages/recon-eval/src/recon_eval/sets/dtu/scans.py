"""Which scans the literature means by "DTU", by name.

Scans 55-58, 65-68, 69-73, 106-109, 110-113, 114-117, 118-121 and 122-125 are one object each,
turned by 90 degrees: they are not independent.
"""

from collections.abc import Sequence


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split())


SCANS: dict[str, tuple[int, ...]] = {
    # MVSNet (Yao et al., ECCV 2018): the scans of the published point-cloud tables
    "mvsnet_test": _numbers("1 4 9 10 11 12 13 15 23 24 29 32 33 34 48 49 62 75 77 110 114 118"),
    "mvsnet_validation": _numbers("3 5 17 21 28 35 37 38 40 43 56 59 66 67 82 86 106 117"),
    "mvsnet_training": _numbers(
        "2 6 7 8 14 16 18 19 20 22 30 31 36 39 41 42 44 45 46 47 50 51 52 53 55 57 58 60 61 63 64 "
        "65 68 69 70 71 72 74 76 83 84 85 87 88 89 90 91 92 93 94 95 96 97 98 99 100 101 102 103 "
        "104 105 107 108 109 111 112 113 115 116 119 120 121 122 123 124 125 126 127 128"
    ),
    # IDR, NeuS, VolSDF, 2DGS: surfaces from all views of a scan
    "surface_15": _numbers("24 37 40 55 63 65 69 83 97 105 106 110 114 118 122"),
    # pixelNeRF, RegNeRF: new views from few
    "views_15": _numbers("8 21 30 31 34 38 40 41 45 55 63 82 103 110 114"),
    # Depth Anything 3, poses only; "64" is the number of camera positions, some scans have 49
    "dtu64": _numbers("24 37 40 55 63 65 69 83 97 105 114 118 122"),
}


def scan_numbers(scans: str | Sequence[int]) -> tuple[int, ...]:
    """Return the scans of a named list, or the given ones; ValueError lists the known names."""
    if not isinstance(scans, str):
        return tuple(scans)
    if scans not in SCANS:
        raise ValueError(
            f"scans={scans!r}; it must be scan numbers or a list that is known: pass one of "
            f"{', '.join(SCANS)}"
        )
    return SCANS[scans]
