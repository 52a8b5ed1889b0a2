"""`lite3r reconstruct` as a user calls it: cameras, video, windows, scale, and what it refuses."""

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from recon_backbones import load_backbone, reconstruct
from recon_eval.data import Scene, SyntheticScenes
from recon_eval.formats import read_colmap

NAMES = [f"Foto {number}.png" for number in range(4)]


def run(lite3r: Any, *words: str | Path, out: str = "out") -> Any:
    fast = ("--weights", "random", "--size", "56", "--formats", "npz", "--out", out)
    return lite3r("reconstruct", *words, *fast)


def arrays(out: str = "out") -> dict[str, np.ndarray]:
    with np.load(f"{out}/prediction.npz") as data:
        return {name: data[name] for name in data}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return SyntheticScenes("test", count=1, views=4, height=90, width=120)[0]


@pytest.fixture
def room(tmp_path: Path, scene: Scene) -> Path:
    """Photos of a synthetic room, and `cameras.npz` with their true cameras, in meters."""
    assert scene.world_to_camera is not None
    assert scene.intrinsics is not None
    folder = tmp_path / "Räume mit Leerzeichen"
    folder.mkdir()
    for name, image in zip(NAMES, scene.images, strict=True):
        pixels = (image.permute(1, 2, 0) * 255).byte().numpy()
        Image.fromarray(pixels).save(folder / name)
    np.savez(
        tmp_path / "cameras.npz",
        names=np.array(NAMES),
        world_to_camera=scene.world_to_camera.numpy(),
        intrinsics=scene.intrinsics.numpy(),
    )
    return folder


def test_the_report_links_to_what_is_named_after_it(lite3r: Any, room: Path) -> None:
    words = ("--weights", "random", "--size", "28", "--formats", "report", "npz", "--out", "two")
    assert lite3r("reconstruct", room, *words).code == 0
    assert "href='prediction.npz'" in Path("two/report.html").read_text()


def test_given_cameras_come_back_as_they_are_and_points_lie_in_their_frame(
    lite3r: Any, room: Path
) -> None:
    done = run(lite3r, room, "--cameras", "cameras.npz")
    assert done.code == 0, done.err
    with np.load("cameras.npz") as truth:
        found = arrays()
        np.testing.assert_allclose(
            found["world_to_camera"], truth["world_to_camera"], rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(found["original_intrinsics"], truth["intrinsics"], rtol=1e-5)
    facts = dict(json.loads(Path("out/reconstruction.json").read_text())["facts"])
    assert facts["frame"] == "that of the given cameras"


def test_the_package_alone_gives_what_the_command_writes(lite3r: Any, room: Path) -> None:
    assert lite3r("reconstruct", room, "--size", "56", "--formats", "npz", "--out", "out").code == 0
    alone = reconstruct(room, load_backbone("da3-tiny", weights="bundled"), size=56)
    found = arrays()
    assert list(found["names"]) == list(alone.photos)
    for name, wanted in {
        "depth": alone.depth,
        "confidence": alone.confidence,
        "keep": alone.keep,
        "images": alone.images,
        "world_to_camera": alone.world_to_camera,
        "intrinsics": alone.intrinsics_seen,
        "original_intrinsics": alone.intrinsics,
    }.items():
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)


def test_its_own_cameras_can_be_given_back(lite3r: Any, room: Path) -> None:
    """What one reconstruction found, another takes: intrinsics follow the preprocessing."""
    assert run(lite3r, room, out="first").code == 0
    done = run(lite3r, room, "--cameras", "first/prediction.npz", out="second")
    assert done.code == 0, done.err
    first, second = arrays("first"), arrays("second")
    for name in ("world_to_camera", "intrinsics", "original_intrinsics"):
        np.testing.assert_allclose(second[name], first[name], rtol=1e-4, atol=1e-4)


def test_cameras_are_refused_for_other_images_and_for_other_shapes(lite3r: Any, room: Path) -> None:
    with np.load("cameras.npz") as data:
        held = dict(data)
    np.savez("others.npz", **(held | {"names": np.array(list("abcd"))}))
    run(lite3r, room, "--cameras", "others.npz").refuses("cameras for other images", "a, b, c")
    sizes = np.array([[120, 120]] * 4)
    np.savez("square.npz", **(held | {"original_size": sizes}))
    run(lite3r, room, "--cameras", "square.npz").refuses("for 120 x 120 pixels", "120 x 90")
    run(lite3r, room, "--cameras", "nowhere").refuses("nowhere: does not exist", "transforms.json")
    run(lite3r, room, "--cameras", "cameras.npz", "--backbone", "vggt-tiny").refuses(
        "vggt-tiny takes no cameras",
    )
    run(lite3r, room, "--cameras", "cameras.npz", "--known-distance", *NAMES[:2], "1").refuses(
        "with cameras; these already give the scale",
    )
    assert not Path("out").exists()


def test_photos_without_a_camera_are_left_out_and_told(lite3r: Any, room: Path) -> None:
    Image.new("RGB", (120, 90), (9, 99, 200)).save(room / "new.png")
    done = run(lite3r, room, "--cameras", "cameras.npz")
    assert done.code == 0, done.err
    assert "left out, without a camera: new.png" in done.err
    assert list(arrays()["names"]) == NAMES


def test_windows_and_a_known_distance_give_meters(lite3r: Any, room: Path) -> None:
    words = ("--window", "3", "--overlap", "2", "--known-distance", NAMES[0], NAMES[3], "2.5")
    done = run(lite3r, room, *words)
    assert done.code == 0, done.err
    assert "windows of 3 views that share 2" in " ".join(done.err.split())
    poses = arrays()["world_to_camera"]
    centers = [-pose[:, :3].T @ pose[:, 3] for pose in poses]
    assert np.linalg.norm(centers[3] - centers[0]) == pytest.approx(2.5, rel=1e-4)


def test_a_budget_that_is_too_small_names_the_least(lite3r: Any, room: Path) -> None:
    run(lite3r, room, "--budget", "1MB").refuses("at the very least", "1 MB may be used")
    run(lite3r, room, "--budget", "much").refuses("no amount of memory", "8GB")
    assert not Path("out").exists()


def test_masks_reach_points_and_depth(lite3r: Any, room: Path) -> None:
    pixels = np.array(Image.open(room / NAMES[0]))
    pixels[:, :40] = 0
    Image.fromarray(pixels).save(room / NAMES[0])
    words = ("--mask-background", "black", "--confidence-percentile", "0", "--edge-tolerance", "99")
    done = lite3r(
        *("reconstruct", room, "--weights", "random", "--size", "56", "--out", "out"),
        *("--formats", "npz", "depth", *words),
    )
    assert done.code == 0, done.err
    keep = arrays()["keep"]
    assert not keep[0, :, :14].any()
    assert keep[0, :, 24:].mean() > 0.9
    depth = np.asarray(Image.open("out/depth/Foto 0.png"))
    assert ((depth == 0) == ~keep[0]).all()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "un clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (112, 84))
    rng = np.random.default_rng(0)
    for _ in range(12):
        coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        writer.write(cv2.resize(coarse, (112, 84)))
    writer.release()
    return path


def test_frames_of_a_video_lie_beside_their_cameras(lite3r: Any, video: Path) -> None:
    done = lite3r(
        *("reconstruct", video, "--weights", "random", "--size", "56", "--out", "out"),
        *("--frames", "3", "--formats", "npz", "transforms"),
    )
    assert done.code == 0, done.err
    names = list(arrays()["names"])
    assert len(names) == 3
    assert sorted(path.name for path in Path("out/images").iterdir()) == names
    frames = json.loads(Path("out/transforms.json").read_text())["frames"]
    assert all(Path("out", frame["file_path"]).is_file() for frame in frames)
    assert all(not Path("out", frame["file_path"]).is_symlink() for frame in frames)


def test_video_options_and_inputs_that_make_no_sense(lite3r: Any, video: Path, room: Path) -> None:
    run(lite3r, room, "--frames", "3").refuses("without a video", "max_views")
    run(lite3r, video, "--fps", "1", "--frames", "3").refuses("give one of the two")
    run(lite3r, video, room).refuses("give it alone")
    run(lite3r, video, "--frames", "99").refuses("12 frames", "99 are asked for")
    Path("empty.mp4").write_bytes(b"")
    run(lite3r, "empty.mp4").refuses("empty.mp4", "no video")
    run(lite3r, "gone.mp4", "--weights", "gone").refuses("gone.mp4 does not exist")  # weights later
    assert not Path("out").exists()


def test_nothing_but_a_reconstruction_is_ever_replaced(lite3r: Any, room: Path) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    run(lite3r, room, "--overwrite", out="mine").refuses("no reconstruction", "thesis.tex")
    run(lite3r, room, "--overwrite", out=str(room)).refuses("would be lost")
    run(lite3r, room, "--overwrite", out=str(room.parent)).refuses("would be lost")
    assert Path("mine/thesis.tex").read_text() == "years of work"
    assert len(list(room.iterdir())) == 4
    assert run(lite3r, room).code == 0
    run(lite3r, room).refuses("exists already", "--overwrite")
    assert lite3r("view", "out").code == 0
    assert run(lite3r, room, "--overwrite").code == 0
    Path("out/dense").mkdir()  # what somebody made of it
    run(lite3r, room, "--overwrite").refuses("no reconstruction", "it holds dense")
    assert Path("out/dense").is_dir() and Path("out/reconstruction.json").is_file()


def test_photos_that_a_list_names_are_never_replaced(lite3r: Any, room: Path) -> None:
    assert run(lite3r, room).code == 0
    inside = Path("out/images")
    inside.mkdir(exist_ok=True)
    for name in NAMES:
        (inside / name).write_bytes((room / name).read_bytes())
    Path("chosen.txt").write_text("".join(f"{inside / name}\n" for name in NAMES))
    run(lite3r, "chosen.txt", "--overwrite").refuses("would be lost")
    masks = ("--masks", inside)
    run(lite3r, room, *masks, "--overwrite").refuses("would be lost")
    assert sorted(path.name for path in inside.iterdir()) == sorted(NAMES)


def test_links_of_the_reconstruction_itself_are_no_photos_for_its_successor(
    lite3r: Any, room: Path
) -> None:
    words = ("--weights", "random", "--size", "28", "--formats", "transforms", "--out", "rec")
    done = lite3r("reconstruct", room, *words)
    assert done.code == 0, done.err
    links = sorted(Path("rec/images").iterdir())
    assert all(link.is_symlink() for link in links)
    again = run(lite3r, *links, "--overwrite", out="rec")
    again.refuses(f"rec holds {links[0]}; it would be lost")
    assert "reconstructing" not in again.err


def test_where_a_link_leads_a_reconstruction_is_written_and_finds_its_photos(
    lite3r: Any, room: Path
) -> None:
    Path("disk/deep/out").mkdir(parents=True)
    Path("way").symlink_to("disk/deep")
    Path("link").symlink_to("disk/deep/out")
    words = ("--weights", "random", "--size", "28", "--formats", "transforms", "--overwrite")
    for out in ("link", "way/other"):
        done = lite3r("reconstruct", room, *words, "--out", out)
        assert done.code == 0, done.err
        links = [link for link in Path(out, "images").iterdir() if link.is_symlink()]
        assert links and all(link.is_file() for link in links)
    assert Path("link").is_symlink() and Path("disk/deep/out/images").is_dir()


def test_all_that_was_left_out_is_told_to_a_script(lite3r: Any, room: Path) -> None:
    (room / "copy.png").write_bytes((room / NAMES[0]).read_bytes())
    (room / "bad.png").write_bytes(b"no photo")
    done = run(lite3r, room, "--skip-broken", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["left out"] == f"1 broken: bad.png; 1 a copy of another: {NAMES[0]}"
    assert told["views"] == 4


def test_two_copies_of_one_photo_are_no_two_views(lite3r: Any, room: Path) -> None:
    (room / "copy.png").write_bytes((room / NAMES[0]).read_bytes())
    done = run(lite3r, room / NAMES[0], room / "copy.png")
    assert done.code == 0, done.err
    assert "a copy of another: copy.png" in done.err
    assert "there is no pose to know" in " ".join(done.err.split())
    assert "1 view, " in done.out
    assert list(arrays()["names"]) == [NAMES[0]]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_scheduler_s_stop_leave_nothing_behind(
    tmp_path: Path, room: Path, how: signal.Signals
) -> None:
    command = [sys.executable, "-m", "lite3r", "reconstruct", str(room), "--weights", "random"]
    folder = tmp_path / "work"
    folder.mkdir()
    child = subprocess.Popen(
        [*command, "--size", "448", "--out", "out"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell may ignore it
    )
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith("reconstructing"):
            break
    assert any(path.name.startswith(".out.") for path in folder.iterdir())
    time.sleep(0.1)
    child.send_signal(how)
    said = child.stderr.read()
    assert child.wait(timeout=60) == 128 + how
    assert "no half-written file is left" in said
    assert list(folder.iterdir()) == []


def facts(out: str = "out") -> dict[str, str]:
    return dict(json.loads(Path(out, "reconstruction.json").read_text())["facts"])


def test_a_metric_network_gives_meters_and_sky(lite3r: Any, room: Path) -> None:
    metric = ("--metric-model", "da3metric-tiny", "--metric-weights", "random")
    done = run(lite3r, room, *metric)
    assert done.code == 0, done.err
    assert facts()["unit"] == "meters, as da3metric-tiny sees them"
    done = run(lite3r, room, "--backbone", "da3nested-tiny", "--window", "3", out="nested")
    assert done.code == 0, done.err
    assert facts("nested")["unit"] == "meters, as the network sees them"


@pytest.mark.parametrize(
    ("network", "weights", "said"),
    [
        ("da3metric-huge", "random", "'da3metric-huge' is unknown"),
        ("da3metric-tiny", "nowhere.safetensors", "nowhere.safetensors does not exist"),
        ("da3-tiny", "random", "sees no metric depth"),
    ],
)
def test_a_metric_network_is_refused_before_the_work(
    lite3r: Any, room: Path, network: str, weights: str, said: str
) -> None:
    done = run(lite3r, room, "--metric-model", network, "--metric-weights", weights)
    done.refuses(said)
    assert "reading photos" not in done.err


def test_scales_that_contradict_each_other_are_refused(lite3r: Any, room: Path) -> None:
    metric = ("--metric-model", "da3metric-tiny", "--metric-weights", "random")
    distance = ("--known-distance", NAMES[0], NAMES[1], "1")
    run(lite3r, room, *metric, *distance).refuses("both give meters")
    run(lite3r, room, *metric, "--cameras", "cameras.npz").refuses("already give the scale")
    run(lite3r, room, "--metric-model", "da3-tiny", "--metric-weights", "random").refuses(
        "sees no metric depth",
    )
    run(lite3r, room, "--backbone", "da3metric-tiny").refuses("finds no cameras")
    assert not Path("out").exists()


def test_half_precision_is_near_for_teachers_and_students(
    lite3r: Any, room: Path, finished: Any
) -> None:
    assert run(lite3r, room, out="whole").code == 0
    done = run(lite3r, room, "--precision", "bfloat16", out="half")
    assert done.code == 0, done.err
    assert facts("half")["computed in"] == "bfloat16"
    ratio = arrays("half")["depth"] / arrays("whole")["depth"]
    assert 0 < np.abs(np.log(ratio)).max() < 0.3
    finished.copied()
    done = run(lite3r, room, "--model", "run", "--precision", "bfloat16")
    assert done.code == 0, done.err
    assert facts("out")["computed in"].endswith("layers, bfloat16")


def test_refined_cameras_go_into_files_with_the_tracks_they_were_fitted_to(
    lite3r: Any, tmp_path: Path
) -> None:
    scene = SyntheticScenes("test", count=1, views=4, height=300, width=400, seed=1)[0]
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image in zip(NAMES, scene.images, strict=True):
        pixels = (image.permute(1, 2, 0) * 255).byte().numpy()
        Image.fromarray(pixels).save(folder / name)
    done = lite3r(
        *("reconstruct", folder, "--size", "112", "--formats", "colmap", "npz", "--out", "out"),
        *("--refine", "--shared-camera", "--max-points", "500"),
    )
    assert done.code == 0, done.err
    told = facts()["cameras refined"]
    assert "views by" in told, told
    model = read_colmap(Path("out/sparse/0"))
    count = int(told.partition("views by ")[2].split()[0].replace(",", ""))
    exact = model.observations.point < count
    assert (np.bincount(model.observations.point[exact], minlength=count) >= 2).all()
    for number in np.flatnonzero(exact)[::50]:
        camera = model.cameras[model.observations.camera[number]]
        point = model.cloud.points[model.observations.point[number]]
        landed, _ = camera.project(point[None])
        assert np.abs(landed[0] - model.observations.xy[number]).max() < 4
    lenses = arrays()["original_intrinsics"]
    np.testing.assert_allclose(lenses, lenses[:1].repeat(4, axis=0))


def test_the_folder_above_has_a_name(
    lite3r: Any, monkeypatch: pytest.MonkeyPatch, room: Path
) -> None:
    """It was to be reconstructions/.., which is there, and was refused after the work."""
    (room / "raw").mkdir()
    monkeypatch.chdir(room / "raw")
    words = ("--weights", "random", "--size", "56", "--formats", "npz", "--quiet")
    assert lite3r("reconstruct", "..", *words).code == 0
    assert Path("reconstructions", room.name, "prediction.npz").is_file()
