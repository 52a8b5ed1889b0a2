"""What every backbone refuses of images, options and words."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from recon_backbones import Backbone, build_on_meta

from .named import images_for, run


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda x: x[0], "shape"),
        (lambda x: x[:, :0], "at least one"),
        (lambda x: x[:, :, :2], "shape"),
        (lambda x: x[..., :-1], "multiples"),
        (lambda x: (x * 255).to(torch.uint8), "divide by 255"),
        (lambda x: x * 255, "range"),
        (lambda x: x - 0.5, "range"),
        (lambda x: x.clone().fill_(float("nan")), "nan"),
    ],
)
def test_images_that_break_the_rules_are_refused(backbone: Backbone, make: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        backbone(make(images_for(backbone)))


class Readings(TorchDispatchMode):
    """Counts how often the range of a tensor is asked for: a GPU waits there for the host."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ranges += func is torch.ops.aten.aminmax.default
        return func(*args, **(kwargs or {}))


def test_images_are_read_once(backbone: Backbone) -> None:
    images = images_for(backbone)
    with Readings() as found:
        run(backbone, images)
    assert found.ranges == 1
    internals = getattr(backbone, "internals", None)
    if internals is None:
        return
    with Readings() as inside:
        internals(images)
    assert inside.ranges == 1
    with pytest.raises(ValueError, match="images range over"):
        internals(images * 3)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"head_chunk": 0}, "head_chunk=0"),
        ({"heads": ("depth", "normals")}, "head='normals'; it must be known: pass one of"),
    ],
)
@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny", "da3metric-tiny"])
def test_unknown_options_are_refused(name: str, options: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build_on_meta(name).internals(torch.rand(1, 2, 3, 28, 28), **options)


def test_unknown_words_and_blocks_are_refused() -> None:
    # Where literals are enforced they speak first, with a TypeError of their own.
    da3: Any = build_on_meta("da3-tiny")
    images = torch.rand(1, 2, 3, 28, 28)
    with pytest.raises(ValueError, match="feature block=10"):
        da3.internals(images, features=(3, 10))
    with pytest.raises(ValueError, match="gaussians"):
        da3.internals(images, heads=("gaussians",))
    for call in (
        lambda: da3(images, reference="best"),
        lambda: da3(images, cameras="guess"),
        lambda: da3.set_token_order("spiral"),
    ):
        with pytest.raises((ValueError, TypeError), match=r"best|guess|spiral"):
            call()
    queries = torch.full((1, 2, 2), float("nan")), *(torch.ones(s) for s in ((1, 0, 2), (1, 2)))
    for wrong in queries:
        with pytest.raises((ValueError, TypeError), match="queries"):
            build_on_meta("vggt-tiny").track(images, wrong)


@pytest.mark.parametrize(("name", "side"), [("vggt-tiny", 14), ("vggt-1b", 126)])
def test_images_too_small_to_track_in_are_refused(name: str, side: int) -> None:
    queries: Any = torch.ones(1, 1, 2)
    with pytest.raises(ValueError, match=r"images have shape .*; .* tracks in sides of at least"):
        build_on_meta(name).track(torch.rand(1, 2, 3, 224, side), queries)
