"""Photos of several shapes: what cutting them to one costs is said, and what costs most refused."""

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from recon_backbones import Backbone, InputError, build_on_meta
from recon_backbones.photos import Prepared, load_batch
from recon_backbones.telling import Telling

DA3, VGGT = build_on_meta("da3-tiny"), build_on_meta("vggt-tiny")


def load(
    folder: Path, backbone: Backbone, sizes: dict[str, tuple[int, int]]
) -> tuple[Prepared, list[str]]:
    """Photos of these widths and heights as the network takes them, and what was said."""
    said: list[str] = []
    for name, size in sizes.items():
        Image.new("RGB", size).save(folder / name)
    paths = [folder / name for name in sizes]
    return load_batch(paths, backbone, 224, telling=Telling(say=said.append)), said


def test_a_panorama_that_would_cut_all_others_to_a_strip_is_refused_by_name(tmp_path: Path) -> None:
    sizes = {f"{n}.jpg": (800, 600) for n in range(3)} | {"pano.jpg": (3000, 400)}
    with pytest.raises(InputError, match=r"pano\.jpg: leaves 17% of what the .*: leave it out, or"):
        load(tmp_path, DA3, sizes)


def test_what_is_left_of_photos_is_said_with_the_one_of_another_shape(tmp_path: Path) -> None:
    sizes = {f"{n}.jpg": (800, 600) for n in range(3)} | {"tall.jpg": (600, 800)}
    found, said = load(tmp_path, DA3, sizes)
    assert found.images.shape[-2:] == (168, 168)
    assert said == [
        "photos are cut to one shape: 75% of each is left, as tall.jpg has another shape"
    ]


def test_several_of_another_shape_are_named_and_not_refused(tmp_path: Path) -> None:
    sizes = {f"{n}.jpg": (800, 600) for n in range(3)} | {f"p{n}.jpg": (1600, 400) for n in "ab"}
    _, said = load(tmp_path, DA3, sizes)
    assert said[0].endswith(
        "from 33% to 100% of each is left, as pa.jpg, pb.jpg have another shape"
    )


def test_where_photos_are_padded_none_is_blamed(tmp_path: Path) -> None:
    """VGGT cuts what is taller than wide by itself."""
    sizes = {"wide.jpg": (800, 300), "square.jpg": (600, 600)}
    assert load(tmp_path, VGGT, sizes)[1] == []
    _, said = load(tmp_path, VGGT, sizes | {"tall.jpg": (300, 800)})
    assert len(said) == 1
    assert said[0].endswith("to 100% of each is left")


@given(
    sides=st.lists(
        st.tuples(st.integers(100, 160), st.integers(100, 160)), min_size=1, max_size=4
    ),
    family=st.sampled_from([DA3, VGGT]),
)  # fmt: skip
def test_it_is_said_how_much_of_the_photos_has_depth_unless_that_is_nearly_all(
    tmp_path_factory: pytest.TempPathFactory, sides: list[tuple[int, int]], family: Backbone
) -> None:
    sizes = {f"{number}.png": size for number, size in enumerate(sides)}
    found, said = load(tmp_path_factory.mktemp("photos"), family, sizes)
    ones = torch.ones(1, len(found.maps), *found.images.shape[-2:])
    left = [float(depth.isfinite().float().mean()) for depth in found.depth_to_photos(ones)]
    if said:
        alike = len(set(sides)) == 1
        assert ("the middle of each photo" in said[0]) == alike
        shares = [int(share) for share in re.findall(r"(\d+)%", said[0])]
        assert shares[0] == pytest.approx(100 * min(left), abs=2)
        assert shares[-1] == pytest.approx(100 * max(left), abs=2)
    else:
        assert min(left) > 0.88
