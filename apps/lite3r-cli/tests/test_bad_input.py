"""A user's mistake gives one sentence that says what to do, exit code 2, and loses nothing."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("keep", ["0", "1.5", "-0.5", "nan"])
def test_impossible_keep(lite3r: Any, keep: str) -> None:
    answer = lite3r.distill("--keep", keep)
    answer.refuses(f"keep={keep}; it must be a fraction in (0, 1]", "number of key blocks")
    assert not Path("runs").exists()


def test_unknown_backbone_lists_the_known(lite3r: Any) -> None:
    lite3r("distill", "--backbone", "da4").refuses("'da4' is unknown", "da3-tiny", "da3-giant")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "--weights", "random", "--size", "56", "--views", "2", "--scenes", "1"),
        ("tune", "--weights", "random", "--size", "56", "--views", "2", "--data", "Fotos à côté"),
        ("bench", "quality", "--weights", "random", "--size", "56", "--views", "2"),
        ("bench", "speed", "--sizes", "56", "--views", "2", "--no-compile"),
    ],
)
def test_a_network_of_single_views_is_compared_with_none(
    lite3r: Any, photos: Path, words: tuple[str, ...]
) -> None:
    lite3r(*words, "--backbone", "da3metric-tiny").refuses("da3metric-tiny finds no cameras")


def test_hub_weights_without_network(lite3r: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between tries of the Hub's library
    monkeypatch.setattr("logging.raiseExceptions", False)  # its log may be an earlier test's stderr
    answer = lite3r("distill", "--backbone", "da3-large")
    answer.refuses("depth-anything/DA3-LARGE", "CC BY-NC", "model.safetensors")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--steps", "-1"), ("steps=-1", "at least 0")),
        (("--many-views", "1"), ("many_views=1", "--many-views 0")),
        (("--size", "13"), ("size=13", "at least 14")),
        (("--views", "1"), ("views=1", "at least 2")),
        (("--recipe", "tiles", "--block", "0", "4"), ("block=(0, 4)", "powers of two")),
        (("--recipe", "fast", "--block", "64", "8"), ("block=(64, 8)", "smallest cells")),
        (("--recipe", "fast", "--steps", "9"), ("steps=9", "trainable=lora")),
        (
            ("--recipe", "fast", "--steps", "0", "--match", "tokens"),
            ("match=tokens", "leave it out"),
        ),
        (("--set", "fp8_include=*.nothing.*"), ("*.nothing.*", "linear layer")),
        (("--resume", "--overwrite"), ("contradict",)),
        (("--device", "cuda"), ("no GPU",)),
        (("--fp8", "int4"), ("int4", "rowwise")),
        (("--eval-scenes", "0"), ("eval_scenes=0", "24")),
        (("--recipe", "nope"), ("recipe='nope'", "balanced, fast")),
        (("--recipe", "nope.json"), ("recipe=nope.json", "no such file")),
        (("--set", "keep"), ("set=keep", "NAME=VALUE")),
        (("--set", "order=alphabet"), ("order='alphabet'", "content, sequence")),
        (("--set", "lora_rank=0"), ("lora_rank=0", "at least 1")),
        (("--recipe", "fast", "--steps", "0", "--set", "axes=9999"), ("axes=9999", "192 at most")),
    ],
)
def test_impossible_options(lite3r: Any, words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    lite3r.distill(*words).refuses(*parts)
    assert not Path("runs").exists()


def test_a_training_that_diverges_says_so(lite3r: Any) -> None:
    answer = lite3r.distill("--attention-weight", "1e38", "--steps", "9")
    answer.refuses("the gradient norm is ", "Lower learning_rate")
    done = lite3r.distill("--learning-rate", "1e30", "--out", "large")  # its last step is undone
    assert done.code == 0, done.err
    assert json.loads(Path("large/report.json").read_text())["losses"][-1] is None


@pytest.mark.parametrize("command", ["distill", "reconstruct"])
def test_unwritable_output_is_found_before_the_work(
    lite3r: Any, photos: Path, command: str
) -> None:
    Path("file").write_text("")
    words = () if command == "distill" else (photos,)
    words += ("--weights", "random")
    lite3r(command, *words, "--out", "/proc/run").refuses("cannot write in /proc")
    lite3r(command, *words, "--out", "file/run").refuses("file is a file; it must be a folder")
    for folder in ("/proc/run", "file/run"):
        assert not Path(folder).exists()


def test_empty_folder(lite3r: Any) -> None:
    Path("empty").mkdir()
    lite3r("reconstruct", "empty", "--weights", "random").refuses("holds no photo", "it is empty")
    lite3r.distill("--data", "empty").refuses("holds no photo", ".jpg")
    assert not Path("runs").exists()


def test_folder_without_photos_says_what_it_holds(lite3r: Any) -> None:
    Path("docs").mkdir()
    Path("docs/notes.md").write_text("")
    lite3r("reconstruct", "docs", "--weights", "random").refuses("notes.md", "photos end in")


def test_a_pattern_of_videos_says_how_videos_are_named(lite3r: Any) -> None:
    Path("walk.MOV").write_bytes(b"frames")
    for words in (("data", "check"), ("reconstruct",), ("reconstruct", "--fps", "2")):
        lite3r(*words, "*.MOV").refuses("walk.MOV is a video; ", "by its own name")


@pytest.mark.parametrize(
    "words",
    [("data", "check"), ("tune", "--data"), ("distill", "--data"), ("reconstruct", "1.png")],
)
def test_a_video_is_no_photo_and_no_folder_of_them(
    lite3r: Any, photos: Path, words: tuple[str, ...]
) -> None:
    Path("1.png").write_bytes((photos / "1.png").read_bytes())
    Path("walk.MOV").write_bytes(b"frames")
    lite3r(*words, "walk.MOV").refuses("walk.MOV is a video; ", "photos")
    if words != ("reconstruct", "1.png"):
        lite3r(*words, "walk.MOV").refuses("reconstruct", "images")


def test_one_photo_is_too_few_to_learn_from(lite3r: Any, photos: Path) -> None:
    Path("one").mkdir()
    (photos / "1.png").rename("one/1.png")
    lite3r.distill("--data", "one").refuses("names 1 photo", "at least 2")


def test_missing_input(lite3r: Any) -> None:
    lite3r("reconstruct", "nowhere", "--weights", "random").refuses("nowhere does not exist")
    lite3r("reconstruct", "no*.jpg", "--weights", "random").refuses("matches no file")
    lite3r("eval", "--data", "nowhere", "--weights", "random").refuses("nowhere", "not exist")
    lite3r.distill("--data", "nowhere").refuses("nowhere does not exist")


@pytest.mark.parametrize(
    "words",
    [("reconstruct", ""), ("reconstruct", "photos", "--out", ""), ("distill", "--out="), ("",)],
)
def test_an_empty_word_is_not_the_folder_one_is_in(
    lite3r: Any, photos: Path, words: tuple[str, ...]
) -> None:
    lite3r(*words).refuses("lite3r: word=''; each must say something")
    assert [path.name for path in Path().iterdir()] == [photos.name]


def test_links_to_nothing_are_left_out_and_named(lite3r: Any, photos: Path) -> None:
    (photos / "gone.jpg").symlink_to("nowhere.jpg")
    (photos / "round.jpg").symlink_to("round.jpg")
    words = ("reconstruct", photos, "--weights", "random", "--size", "28", "--formats", "ply")
    lite3r(*words, "--out", "out").refuses("gone.jpg is a link to nothing")
    done = lite3r(*words, "--out", "out", "--skip-broken")
    assert done.code == 0 and "left out, broken: gone.jpg, round.jpg" in done.err
    lite3r("data", "check", photos).refuses("gone.jpg: is a link", "round.jpg: is a link", "2 of ")


def test_broken_jpeg(lite3r: Any, photos: Path) -> None:
    whole = (photos / "10.jpg").read_bytes()
    (photos / "10.jpg").write_bytes(whole[: len(whole) // 2])
    answer = lite3r("reconstruct", photos, "--weights", "random", "--size", "56", "--out", "out")
    answer.refuses("10.jpg", "broken")
    lite3r.distill("--data", photos).refuses("10.jpg", "broken")
    assert not Path("out").exists()


def test_text_named_jpg(lite3r: Any, photos: Path) -> None:
    (photos / "4.jpg").write_text("this is no picture")
    answer = lite3r("reconstruct", photos, "--weights", "random", "--size", "56", "--out", "out")
    answer.refuses("4.jpg", "no JPEG")
    assert not Path("out").exists()


@pytest.mark.parametrize("seed", ["-1", str(1 << 70)])
def test_a_seed_that_draws_nothing(lite3r: Any, photos: Path, seed: str) -> None:
    random = ("--weights", "random", "--seed", seed)
    for words in (
        ("eval", *random),
        ("reconstruct", photos, *random),
        ("distill", *random),
        ("bench", "speed", *random),
        ("bench", "quality", *random),
        ("tune", "--data", photos, *random),
    ):
        lite3r(*words).refuses(f"seed={seed}; it must be")
    lite3r("data", "make", "scenes", "--seed", "-1").refuses("seed=-1; it must be")
    lite3r("eval", "--seed", "-1").refuses("seed=-1; it must be")
    files = [path for path in photos.parent.rglob("*") if path.is_file()]
    assert {path.parent for path in files} == {photos}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("eval", "--scans", "1,4"), ("scans=1,4", "--data")),
        (("eval", "--scenes", "0"), ("scenes=0", "24")),
        (("eval", "--out", "a.txt"), ("out=a.txt", ".json or .md")),
        (("bench", "quality", "--scenes", "1"), ("scenes=1", "at least 2")),
        (("bench", "quality", "--steps", "0"), ("steps=0", "at least 1")),
        (("bench", "quality", "--out", "a.txt"), ("out=a.txt", ".json")),
        (("bench", "plot", "a.json", "--out", "a.png"), ("out=a.png", ".svg")),
        (("bench", "plot", "a.json", "--out", "a.svg"), ("a.json holds no results", "the file")),
        (("view",), ("folders=()", "one at least")),
        (("tune", "--data", ".", "--views", "1"), ("views=1", "at least 2")),
        (("reconstruct",), ("photos=()", "a folder")),
        (("reconstruct", ".", "--shared-camera", "--cameras", "."), ("shared_camera=True",)),
        (("export", "teacher", "--out", "a"), ("kind=deployed", "--kind onnx")),
        (("export", "run", "--out", "a", "--views", "4"), ("kind=deployed", "--kind program")),
        (("export", "run", "--out", "a", "--kind", "hub", "--width", "56"), ("kind=hub", "width")),
        (("reconstruct", ".", "--formats"), ("formats=()", "all of them")),
        (("reconstruct", ".", "--metric-weights", "a"), ("metric_weights=a", "--metric-model")),
        (("bench", "speed", "--sizes"), ("sizes=()", "224")),
        (("bench", "speed", "--views", "2", "--sizes", "0"), ("sizes=0x0", "14x14")),
        (("data", "make", "scenes", "--size", "100000"), ("height=100000", "4096")),
        (("pretrain", "--from", "nowhere"), ("nowhere does not exist",)),
        (("pretrain", "--device", "cuda"), ("device=cuda", "use cpu")),
        (("pretrain", "--minutes", "-1"), ("minutes=-1", "above 0")),
        (("pretrain", "--world", "2"), ("world=2", "[0, 1]")),
        (("pretrain", "--peak", "-1"), ("peak=-1", "(0, 1]")),
        (("pretrain", "--out", "/proc/x"), ("cannot write in /proc",)),
    ],
)
def test_options_that_mean_nothing(
    lite3r: Any, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    lite3r(*words).refuses(*parts)
    assert not list(Path().iterdir())


def test_photos_too_large_for_memory_are_refused_before_they_are_made(
    lite3r: Any, photos: Path
) -> None:
    words = ("reconstruct", photos, "--weights", "random", "--size", "1000000", "--out", "out")
    lite3r(*words).refuses("size=1000000", "are free", "use a smaller size")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "--scenes", "1", "--views", "2", "--size", "56", "--model", "run"),
        ("reconstruct", "Fotos à côté", "--size", "56", "--out", "out", "--model", "run"),
        ("export", "run", "--out", "out"),
        ("export", "run", "--out", "out", "--kind", "onnx", "--dense"),
    ],
)
def test_a_backbone_beside_a_student_is_its_own(
    lite3r: Any, photos: Path, finished: Any, words: tuple[str, ...]
) -> None:
    finished.copied()
    answer = lite3r(*words, "--backbone", "vggt-tiny")
    answer.refuses("backbone=vggt-tiny", "run is a student of da3-tiny", "leave it out")
    assert not Path("out").exists()


def test_a_backbone_that_the_student_has_is_no_contradiction(lite3r: Any, finished: Any) -> None:
    done = lite3r("export", finished.copied(), "--out", "out", "--backbone", "da3-tiny")
    assert done.code == 0, done.err
