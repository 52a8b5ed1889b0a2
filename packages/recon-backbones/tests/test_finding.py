"""Photos are found as people keep them: beside hidden files and broken ones, in rigs, as HEIC."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from recon_backbones import Backbone, InputError, PhotoChoice, load_backbone, reconstruct
from recon_backbones.photos import decode_photo, extract_frames, find_photos, photos_digest
from recon_backbones.photos.video import Clock, _places, read_clock
from recon_backbones.telling import Telling

FIXTURES = Path(__file__).parent / "fixtures"
HEIC_START = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def picture(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        picture(number).save(folder / f"IMG_{number}.JPG")
    return folder


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("da3-tiny", weights="random")


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_hidden_files_and_sidecars_are_no_photos(photos: Path) -> None:
    for number in range(3):
        (photos / f"._IMG_{number}.JPG").write_bytes(b"\0\5\x16\7Mac OS X")
    for name in (".DS_Store", "Thumbs.db", ".hidden.jpg"):
        (photos / name).write_bytes(b"\0")
    found = names(find_photos([photos]))
    assert found == ["IMG_0.JPG", "IMG_1.JPG", "IMG_2.JPG"]
    everything = sorted(photos.iterdir())
    named = [path for path in everything if path.suffix == ".JPG"]
    assert len(named) == 6
    assert names(find_photos(named)) == found  # as a shell or a list names them
    assert names(find_photos([f"{photos}/*.JPG"])) == found


def test_a_copy_is_taken_once_where_none_are_wanted(photos: Path) -> None:
    (photos / "IMG_9.JPG").write_bytes((photos / "IMG_1.JPG").read_bytes())
    assert names(find_photos([photos])) == ["IMG_0.JPG", "IMG_1.JPG", "IMG_2.JPG", "IMG_9.JPG"]
    assert names(find_photos([photos], copies=False)) == ["IMG_0.JPG", "IMG_1.JPG", "IMG_2.JPG"]
    with pytest.raises(InputError, match="names 3 photos; at least 4"):
        find_photos([photos], copies=False, at_least=4)


def test_a_folder_of_sidecars_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "._a.jpg").write_bytes(b"\0")
    with pytest.raises(InputError, match=r"holds no photo \(\._a\.jpg\)"):
        find_photos([tmp_path])


def test_folders_in_folders_are_taken_when_asked_and_rigs_stay_apart(
    photos: Path, backbone: Backbone
) -> None:
    for rig in ("left", "right", ".trash"):
        (photos / rig).mkdir()
        for number in (2, 10):
            picture(100 + number + ord(rig[0])).save(photos / rig / f"{number}.png")
    assert len(find_photos([photos])) == 3
    found = find_photos([photos], recursive=True)
    below = [path.relative_to(photos).as_posix() for path in found]
    rigs = ["left/2.png", "left/10.png", "right/2.png", "right/10.png"]
    assert below == ["IMG_0.JPG", "IMG_1.JPG", "IMG_2.JPG", *rigs]
    made = reconstruct(photos, backbone, size=28, choice=PhotoChoice(recursive=True))
    assert list(made.photos) == below


def test_broken_photos_end_a_run_unless_they_are_to_be_skipped(
    photos: Path, backbone: Backbone
) -> None:
    (photos / "IMG_1.JPG").write_bytes((photos / "IMG_1.JPG").read_bytes()[:-500])
    with pytest.raises(InputError, match=r"IMG_1\.JPG.*broken"):
        reconstruct(photos, backbone, size=28)
    said: list[str] = []
    skipping = PhotoChoice(skip_broken=True)
    made = reconstruct(photos, backbone, size=28, choice=skipping, say=said.append)
    assert made.photos == ("IMG_0.JPG", "IMG_2.JPG")
    assert dict(made.facts)["left out"] == "1 broken: IMG_1.JPG"
    assert any("IMG_1.JPG" in sentence for sentence in said)


@pytest.mark.parametrize("leads", ["gone.JPG", "IMG_3.JPG"])  # the second to itself
def test_a_link_to_nothing_is_a_broken_photo(photos: Path, backbone: Backbone, leads: str) -> None:
    (photos / "IMG_3.JPG").symlink_to(leads)
    for given in (photos, f"{photos}/*.JPG"):
        with pytest.raises(InputError, match=r"IMG_3\.JPG is a link to nothing"):
            reconstruct(given, backbone, size=28)
        said: list[str] = []
        skipping = PhotoChoice(skip_broken=True)
        made = reconstruct(given, backbone, size=28, choice=skipping, say=said.append)
        assert made.photos == ("IMG_0.JPG", "IMG_1.JPG", "IMG_2.JPG")
        assert dict(made.facts)["left out"] == "1 broken: IMG_3.JPG"
        assert "IMG_3.JPG: is a link to nothing; it must be a file" in " ".join(said)


def test_an_empty_name_is_not_the_folder_one_is_in(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    with pytest.raises(InputError, match="photos=''; a name must be given"):
        find_photos([""])
    assert len(find_photos(["."])) == 3


def test_one_photo_has_depth_and_intrinsics_and_no_pose(photos: Path, backbone: Backbone) -> None:
    said: list[str] = []
    made = reconstruct(photos / "IMG_0.JPG", backbone, size=56, say=said.append)
    assert made.photos == ("IMG_0.JPG",)
    assert made.depth_of(0).shape == (64, 96)
    assert (made.depth > 0).all()
    assert (made.intrinsics[0].diagonal() > 0).all()
    assert made.keep.any()
    np.testing.assert_allclose(made.world_to_camera[0], np.eye(4)[:3], atol=1e-12)
    assert any("there is no pose to know" in sentence for sentence in said)
    assert "no pose" in dict(made.facts)["views"]


def test_heic_is_never_passed_over_in_silence(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "IMG_3.HEIC").write_bytes(HEIC_START)
    assert names(find_photos([photos]))[-1] == "IMG_3.HEIC"
    monkeypatch.setattr("recon_backbones.photos.opening.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"IMG_3\.HEIC: is a HEIC photo.*pip install pi-heif,"):
        decode_photo(photos / "IMG_3.HEIC", at_least=100)


def test_heic_shows_what_was_saved() -> None:
    """The file was written from `picture(1)` by another library."""
    pytest.importorskip("pi_heif")
    found = decode_photo(FIXTURES / "photo.heic", at_least=1000)
    assert found.size == (96, 64)
    assert np.abs(found.image.astype(float) - np.asarray(picture(1), dtype=float)).mean() < 8


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_shows_what_was_saved(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.avif", quality=95)
    assert names(find_photos([tmp_path], at_least=1)) == ["a.avif"]
    found = decode_photo(tmp_path / "a.avif", at_least=1000)
    assert np.abs(found.image.astype(float) - np.asarray(picture(1), dtype=float)).mean() < 8


def test_a_gif_is_refused_with_a_way_out(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.gif")
    with pytest.raises(InputError, match=r"is a GIF; .* give it as a video"):
        decode_photo(tmp_path / "a.gif", at_least=100)


def test_places_of_a_video_are_times() -> None:
    """Twenty-three frames in the first 0.73 s, then one each at 1.23, 1.73 and 2.23 s."""
    times = (*(number / 30 for number in range(23)), 1.23, 1.73, 2.23)
    places = _places(Path("v.mp4"), Clock(times=times, stated=2.27), PhotoChoice(fps=4.0))
    taken = sorted(set(places.values()))
    assert taken == [0, 1, 2, 4, 6, 8]
    assert {23, 24, 25} <= set(places)
    for number, place in places.items():
        assert place <= times[number] * 4 + 1e-3 < place + 1 + 1e-3


def clip(path: Path, frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15.0, (96, 64))
    for number in range(frames):
        writer.write(np.asarray(picture(number))[:, :, ::-1].copy())
    writer.release()
    return path


def test_a_cut_video_says_so_and_a_whole_one_does_not(tmp_path: Path) -> None:
    said: list[str] = []
    whole = clip(tmp_path / "whole.avi", 45)
    telling = Telling(say=said.append)
    extract_frames(whole, tmp_path / "a", PhotoChoice(frames=4), telling=telling)
    assert said == []
    assert read_clock(whole).frames_per_second == pytest.approx(15, rel=1e-3)
    cut = tmp_path / "cut.avi"
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    found = extract_frames(cut, tmp_path / "b", PhotoChoice(frames=4), telling=telling)
    assert len(found) == 4
    assert len(said) == 1
    assert "cut.avi is cut: it ends at" in said[0]


def test_nothing_here_needs_unix() -> None:
    """Whoever imports the package on Windows has no `resource`."""
    package = Path(sys.modules["recon_backbones"].__file__ or "").parent
    sources = list(package.rglob("*.py"))
    assert sources
    assert not [p.name for p in sources if "import resource" in p.read_text(encoding="utf-8")]


def test_a_digest_tells_photos_and_their_order_and_not_their_names(tmp_path: Path) -> None:
    one, two, again = (tmp_path / name for name in ("1.jpg", "2.jpg", "3.jpg"))
    for path, held in ((one, b"one"), (two, b"two"), (again, b"one")):
        path.write_bytes(held)
    assert photos_digest([one, two]) == photos_digest([again, two])
    assert len({photos_digest(p) for p in ([one, two], [two, one], [one], [one, two, two])}) == 4


def test_what_a_reconstruction_wrote_below_the_photos_is_none_of_them(tmp_path: Path) -> None:
    made = tmp_path / "reconstructions" / "garden"
    for path in (tmp_path / "1.jpg", tmp_path / "more" / "2.jpg", made / "depth" / "1.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20)).save(path)
    (made / "reconstruction.json").write_text("{}")
    found = find_photos([tmp_path], recursive=True)
    assert [path.name for path in found] == ["1.jpg", "2.jpg"]
    assert find_photos([made / "depth"], at_least=1) == [made / "depth" / "1.png"]  # if named
