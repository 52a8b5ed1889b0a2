"""What a network sees of a scene, as a choice."""

from dataclasses import dataclass

from lite3r.shell.errors import check_least

PATCH = 14  # pixels: smaller images hold no token


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """What the network sees of a scene.

    - `views`: views of one scene, at least 2.
    - `size`: longer side of an image in pixels; aspect ratios are kept.
    """

    views: int = 8
    size: int = 224

    def __post_init__(self) -> None:
        if self.views < 2:
            raise ValueError(f"views={self.views}; a scene needs at least 2: 8 is usual")
        check_least(self, PATCH, "size")
