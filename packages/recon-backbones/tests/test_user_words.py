"""What a user asks for, and what files named hold: an answer, or a sentence with a way out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from recon_backbones import InputError, Masks, PhotoChoice, load_backbone, reconstruct
from recon_backbones.da3.preprocess import DA3Preprocess
from recon_backbones.photos import common_folder, files, find_photos, load_batch, preprocess
from recon_backbones.photos.gather import gather
from recon_backbones.photos.video import Clock, _places, extract_frames
from recon_backbones.telling import Telling
from recon_backbones.vggt.preprocess import VggtPreprocess
from recon_backbones.views.options import Memory
from recon_backbones.views.scale import End, KnownDistance, parse_end
from recon_backbones.views.units import Meters

from .test_finding import picture

HERE = End(photo="a.jpg")


@pytest.mark.parametrize(
    ("make", "words", "said"),
    [
        (PhotoChoice, {"fps": 2.0, "frames": 3}, "both choose frames: give one of the two"),
        (PhotoChoice, {"fps": 0.0}, r"fps=0\.0; it must be above 0 and at most 1000"),
        (PhotoChoice, {"fps": float("nan")}, "fps=nan; it must be above 0"),
        (PhotoChoice, {"frames": 1}, "frames=1; it must be at least 2"),
        (PhotoChoice, {"max_views": 0}, "max_views=0; it must be at least 2"),
        (PhotoChoice, {"drop_blurred": 1.0}, r"drop_blurred=1\.0; it must be at least 0"),
        (Memory, {"window": 1}, "window=1; it must be at least 2 views"),
        (Memory, {"overlap": 0}, "overlap=0; windows must share at least 1 view"),
        (Memory, {"window": 4, "overlap": 4}, "overlap=4; it must be less than window=4"),
        (Memory, {"budget": "much"}, "budget"),
        (VggtPreprocess, {"size": 60}, "size=60; it must be a positive multiple of 14"),
        (DA3Preprocess, {"size": 7}, "size=7; it must be at least patch_size=14"),
        (KnownDistance, {"first": HERE, "second": HERE, "meters": 2.0}, "a distance has two"),
        (
            KnownDistance,
            {"first": HERE, "second": End(photo="b"), "meters": 0.0},
            r"meters=0\.0; it must be positive",
        ),
    ],
)
def test_options_outside_their_range_are_refused(
    make: Any, words: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        make(**words)


@pytest.mark.parametrize(
    ("make", "words", "said"),
    [
        (Memory, {"precision": "bf16"}, "precision='bf16'; .*: give one of kept, auto, float32"),
        (Masks, {"mask_background": "gray"}, "mask_background='gray'; .* none, black, white"),
    ],
)
def test_words_that_are_not_known_are_refused(make: Any, words: dict[str, Any], said: str) -> None:
    # Where literals are enforced they speak first, with a TypeError of their own.
    with pytest.raises((InputError, TypeError), match=f"{said}|Literal"):
        make(**words)


def test_meters_come_from_one_thing_and_not_beside_given_cameras() -> None:
    known = KnownDistance(first=HERE, second=End(photo="b.jpg"), meters=2.0)
    with pytest.raises(InputError, match="both give meters: give one of them"):
        Meters(distance=known, network=lambda: None)
    for meters, name in (
        (Meters(distance=known), "known_distance"),
        (Meters(network=int), "metric"),
    ):
        with pytest.raises(
            InputError, match=f"{name}.* with cameras; these already give the scale"
        ):
            meters.check_free()
    assert Meters().check_free() is None


def test_an_end_is_a_photo_or_one_of_its_pixels() -> None:
    assert parse_end("left/a.jpg") == End(photo="left/a.jpg")
    assert parse_end("a:b.jpg:12,30.5") == End(photo="a:b.jpg", pixel=(12.0, 30.5))
    assert parse_end("a.jpg:12") == End(photo="a.jpg:12")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("10.jpg", "2.jpg", "deep/er/1.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(len(name)).save(tmp_path / "photos" / name)
    return tmp_path


def test_photos_are_named_by_folder_pattern_file_or_list(folder: Path) -> None:
    inside = folder / "photos"
    expected = [inside / "2.jpg", inside / "10.jpg"]
    (folder / "list.txt").write_text("\ufeffphotos/2.jpg\n\n  photos/10.jpg \n", encoding="utf-8")
    named: Sequence[Sequence[str | Path]] = (
        [inside],
        [f"{inside}/*.jpg"],
        expected,
        [folder / "list.txt"],
        [inside, folder / "list.txt"],  # twice is once
    )
    for given in named:
        assert find_photos(given) == expected
    assert find_photos([inside], recursive=True) == [*expected, inside / "deep/er/1.jpg"]
    assert common_folder([inside / "deep/er/1.jpg", inside / "2.jpg"]) == inside
    assert common_folder([inside / "2.jpg"]) == inside


@pytest.mark.parametrize("name", ["1²3.jpg", "½.jpg", "①.jpg", "٣.jpg"])
def test_any_digit_may_stand_in_a_name(tmp_path: Path, name: str) -> None:
    picture(0).save(tmp_path / name)
    picture(1).save(tmp_path / "2.jpg")
    assert {path.name for path in find_photos([tmp_path])} == {"2.jpg", name}


def test_names_that_lead_nowhere_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "link.jpg").symlink_to(folder / "gone.jpg")
    (folder / "binary.txt").write_bytes(b"\xff\xfe\x00x")
    (folder / "long.txt").write_text("x" * 300)
    (folder / "unprintable.txt").write_text("a\x07b.jpg")
    (folder / "empty").mkdir()
    for given, said in (
        ("no-such-*", "does not exist; it matches no file as a pattern either"),
        ("link.jpg", "is a link to nothing; a photo must be a file that can be read"),
        ("binary.txt", r"is no text in UTF-8 .*; a list must be: write a path per line"),
        ("long.txt", "is no file; a photo must be a file"),
        ("unprintable.txt", r"a\\x07b\.jpg'? is no file"),
        ("empty", "holds no photo .it is empty.; photos end in .*: name others"),
        ("photos/deep", "name .*er, which holds some, or take folders too"),
        ("photos/2.jpg", "names 1 photo; at least 2 views of the same scene are needed"),
    ):
        with pytest.raises(InputError, match=said):
            find_photos([f"{folder}/{given}"])
    (folder / "listed.txt").write_text("link.jpg")
    with pytest.raises(InputError, match="is a link to nothing"):
        find_photos([folder / "listed.txt"])
    monkeypatch.setattr(files, "MAX_LIST", 4)
    with pytest.raises(InputError, match="is larger than 0 MB; that is no list of photos"):
        find_photos([folder / "listed.txt"])


def test_videos_that_are_none_or_hold_too_little_are_refused(folder: Path) -> None:
    for name, content, said in (
        ("gone.mp4", None, "does not exist or is no file"),
        ("text.mp4", b"no video", "is no video that OpenCV can read; it is broken, or"),
    ):
        if content:
            (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=said):
            extract_frames(folder / name, folder / "frames", PhotoChoice())
    assert not (folder / "frames").exists()
    still = Clock(times=(0.0, 0.0, 0.0), stated=0.0)
    with pytest.raises(
        InputError, match=r"does not say when its frames are; .*give frames, not fps"
    ):
        _places(folder, still, PhotoChoice(fps=2.0))
    tenth = Clock(times=tuple(n / 10 for n in range(20)), stated=2.0)
    with pytest.raises(InputError, match="has 10 frames a second; fps=30 asks for more"):
        _places(folder, tenth, PhotoChoice(fps=30.0))
    with pytest.raises(InputError, match="has 20 frames; 21 are asked for: give fewer"):
        _places(folder, tenth, PhotoChoice(frames=21))
    assert set(_places(folder, tenth, PhotoChoice(fps=5.0)).values()) == set(range(10))


def test_frames_are_chosen_of_videos_alone(folder: Path) -> None:
    photos = folder / "photos"
    with pytest.raises(InputError, match=r"fps or frames without a video; .*there is max_views"):
        gather([photos], PhotoChoice(fps=2.0), folder, cameras=None, telling=Telling())
    (folder / "walk.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="is a video; it makes a scene by itself"):
        gather(
            [photos, folder / "walk.mp4"], PhotoChoice(), folder, cameras=None, telling=Telling()
        )


@pytest.mark.parametrize("fps", [None, 2.0])
@pytest.mark.parametrize("given", ["*.mp4", "names.txt"])
def test_videos_behind_a_pattern_or_in_a_list_are_refused_by_name(
    folder: Path, given: str, fps: float | None
) -> None:
    (folder / "walk.mp4").write_bytes(b"")
    (folder / "names.txt").write_text("walk.mp4")
    with pytest.raises(InputError, match=r"walk\.mp4 is a video; .*reconstruct it by its own name"):
        gather([folder / given], PhotoChoice(fps=fps), folder, cameras=None, telling=Telling())


def test_a_folder_that_is_named_like_a_video_is_a_folder_of_photos(folder: Path) -> None:
    """As one of its frames may be."""
    frames = (folder / "photos").rename(folder / "walk.mp4")
    found = gather([frames], PhotoChoice(), folder / "none", cameras=None, telling=Telling())
    assert found.root == frames and found.names == ("2.jpg", "10.jpg")


def test_masks_that_keep_nothing_are_refused(folder: Path) -> None:
    (folder / "masks").mkdir()
    for name in ("2.jpg", "10.jpg"):
        Image.new("L", (96, 64), 0).save(folder / "masks" / f"{name}.png")
    with pytest.raises(InputError, match=r"they leave no pixel of any photo; .*: invert them"):
        reconstruct(
            folder / "photos", load_backbone("da3-tiny", weights="random"), size=28,
            masks=Masks(folder=folder / "masks"),
        )  # fmt: skip


def test_a_network_without_meters_gives_none(folder: Path) -> None:
    backbone = load_backbone("da3-tiny", weights="random")
    with pytest.raises(
        InputError, match=r"sees no metric depth in single photos; .*take da3metric"
    ):
        reconstruct(folder / "photos", backbone, size=28, metric=lambda: backbone)


def test_the_distance_of_two_cameras_that_is_known_is_the_distance_that_comes_out(
    folder: Path,
) -> None:
    backbone = load_backbone("da3-tiny", weights="random")
    known = KnownDistance(first=End(photo="2.jpg"), second=End(photo="10.jpg"), meters=3.0)
    made = reconstruct(folder / "photos", backbone, size=28, known_distance=known)
    poses = torch.from_numpy(made.world_to_camera)
    centers = -(poses[:, :, :3].mT @ poses[:, :, 3:])[..., 0]
    assert float((centers[0] - centers[1]).norm()) == pytest.approx(3.0, rel=1e-4)
    assert made.unit.startswith("meters, from the known distance")
    pixel = KnownDistance(
        first=End(photo="2.jpg", pixel=(900.0, 5.0)), second=End(photo="10.jpg"), meters=3.0
    )
    with pytest.raises(InputError, match="lies outside of"):
        reconstruct(folder / "photos", backbone, size=28, known_distance=pixel)
    lost = KnownDistance(first=End(photo="3.jpg"), second=End(photo="10.jpg"), meters=3.0)
    with pytest.raises(InputError, match=r"3\.jpg is none of the photos; photos are 2\.jpg"):
        reconstruct(folder / "photos", backbone, size=28, known_distance=lost)


def test_an_end_that_is_cut_off_is_refused_before_the_network_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, width in enumerate((96, 96, 128)):  # cut to the shape of the last
        picture(number).resize((width, 64)).save(tmp_path / f"{number}.png")
    backbone = load_backbone("da3-tiny", weights="random")
    monkeypatch.setattr(type(backbone), "forward", lambda *_, **__: pytest.fail("it ran"))
    known = KnownDistance.between("2.png", "0.png:48,1", 2.0)
    with pytest.raises(InputError, match=r"outside of what the network saw; .* nearer"):
        reconstruct(tmp_path, backbone, size=84, known_distance=known)


@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny", "da3metric-tiny"])
def test_a_size_of_nothing_is_not_the_usual_one(folder: Path, name: str) -> None:
    backbone = load_backbone(name, weights="random")
    photos = [folder / "photos" / photo for photo in ("2.jpg", "10.jpg")]
    for read in (load_batch, preprocess):
        with pytest.raises(InputError, match="size=0; it must be "):
            read(photos, backbone, size=0)
