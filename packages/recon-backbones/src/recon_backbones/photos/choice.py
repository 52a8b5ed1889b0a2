"""Which photos are taken of those that are there."""

from dataclasses import dataclass

from recon_backbones.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PhotoChoice:
    """Which views are taken.

    - `fps`: of a video, this many frames a second.
    - `frames`: of a video, this many frames, spread evenly; 32 unless given.
    - `max_views`: at most this many photos: evenly spread, and of neighbors the sharpest.
    - `drop_blurred`: photos less sharp than this fraction of the median are left out; 0 keeps all.
    - `skip_broken`: photos that cannot be read are left out, and told, instead of ending the run.
    - `recursive`: photos of the folders in a folder are taken too.

    Raises InputError for values outside their range, and for `fps` beside `frames`.
    """

    fps: float | None = None
    frames: int | None = None
    max_views: int | None = None
    drop_blurred: float = 0.0
    skip_broken: bool = False
    recursive: bool = False

    def __post_init__(self) -> None:
        if self.fps is not None and self.frames is not None:
            raise InputError(
                f"fps={self.fps} with frames={self.frames}; both choose frames: give one of the two"
            )
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise InputError(f"fps={self.fps}; it must be above 0 and at most 1000: 2 is usual")
        for name in ("frames", "max_views"):
            value = getattr(self, name)
            if value is not None and value < 2:
                raise InputError(f"{name}={value}; it must be at least 2: leave it out for all")
        if not 0 <= self.drop_blurred < 1:
            raise InputError(
                f"drop_blurred={self.drop_blurred}; it must be at least 0 and less than 1: "
                "0.3 is mild, 0 keeps all"
            )
