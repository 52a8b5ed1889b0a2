"""Commands as a user calls them, from the first word to the files they leave."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

import lite3r as lite3r_module
from fp8_qat import multiplies_bfloat16


def test_help_answers_at_once_without_torch() -> None:
    code = (
        "import sys, time; from lite3r.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('heavy:', sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))\n"
        "print('seconds:', time.process_time())"  # of the processor, whatever else it runs
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "heavy: []" in done.stdout
    assert "distill" in done.stdout
    assert float(done.stdout.split("seconds:")[1]) < 0.5


def test_distill_leaves_a_student_that_loads_and_predicts_the_same(
    lite3r: Any, finished: Any
) -> None:
    finished.copied("runs/a")
    assert {p.name for p in Path("runs/a").iterdir()} == {
        "adapter.safetensors",
        "config.json",
        "report.html",
        "report.json",
        "run.json",
        "training",
    }
    report = json.loads(finished.printed)
    assert report == json.loads(Path("runs/a/report.json").read_text())
    assert [row["label"] for row in report["rows"]] == [
        "teacher",
        *(["teacher, bfloat16"] if multiplies_bfloat16(torch.device("cpu")) else []),
        "student, untrained",
        "student, trained",
        "student, deployed",
    ]
    teacher, *_, untrained, trained, student = report["rows"]
    assert teacher["latency_ms"] > 0 < student["latency_ms"]
    assert untrained["latency_ms"] is trained["latency_ms"] is None  # nobody runs these
    assert report["summary"].startswith("At 2 views the student is ")
    assert report["summary"].count(". ") == 0  # one sentence
    assert "Measured on 1 synthetic scenes that neither" in report["about"]
    assert student["weights_mb"] < 0.5 * teacher["weights_mb"] == 0.5 * teacher["disk_mb"]
    assert teacher["density"] == 1.0
    assert 0 < student["density"] < 1
    assert untrained["trained_parameters"] == 0
    adapter = load_file("runs/a/adapter.safetensors")
    assert sum(a.size for a in adapter.values()) == student["trained_parameters"]
    assert any(np.abs(a).max() > 0 for a in adapter.values())
    again = lite3r(
        *("eval", "--model", "runs/a", "--scenes", "1", "--size", "84", "--views", "2", "--json")
    )
    measured = json.loads(again.out)["entries"]
    assert measured == report["measurements"]["student, deployed"]["entries"]


def test_a_run_without_training_says_so_and_measures_at_more_views(lite3r: Any) -> None:
    words = ("--recipe", "balanced", "--steps", "0", "--many-views", "3", "--many-scenes", "1")
    done = lite3r.distill(*words, "--out", "a b", "--json")
    assert done.code == 0, done.err
    assert "lite3r reconstruct PHOTOS --model 'a b'" in done.err
    report = json.loads(done.out)
    labels = [row["label"] for row in report["rows"]]
    assert "student, trained" not in labels
    assert report["summary"].startswith("At 3 views the student is ")
    student = report["rows"][-1]
    assert student["trained_parameters"] == 0
    assert student["latency_ms_many"] > 0 < student["abs_rel_many"]
    assert "understate: on drawn scenes" in done.err.replace("\n", " ")
    with safe_open("a b/adapter.safetensors", "pt") as adapter:
        kept = set(adapter.keys())
    assert {name for name in kept if not name.endswith(".weight_codes")} == {
        f"model.backbone.pretrained.blocks.{block}.attn.core.{found}"
        for block in (3, 5, 7, 9)
        for found in ("directions", "offsets")
    }


def test_axes_are_found_on_the_photos_that_are_learnt_from(lite3r: Any, photos: Path) -> None:
    words = ("--recipe", "fast", "--steps", "0", "--many-views", "5")
    done = lite3r.distill(*words, "--data", photos, "--out", "a", "--json")
    assert done.code == 0, done.err
    assert "on 2 photos" in done.err.replace("\n", " ")
    report = json.loads(done.out)
    assert report["rows"][-1]["latency_ms_many"] > 0
    assert report["measurements_many"] == {}
    assert any("the photos over and over, 5 in all" in note for note in report["notes"])


def test_before_after_and_difference_are_shown_on_photos_too(lite3r: Any, photos: Path) -> None:
    done = lite3r.distill("--photos", photos, "--out", "a", "--json")
    assert done.code == 0, done.err
    page = Path("a/report.html").read_text()
    captions = re.findall("<figcaption>(.*?)</figcaption>", page)
    before, after = "student, untrained", "student, deployed"
    shown = [f"difference: {label} from teacher" for label in (before, after)]
    models = ["teacher", before, after, *shown]
    assert captions == ["photo", "true depth", *models, "photo", *models]
    assert "<h2>Distillation loss</h2>" in page
    report = json.loads(done.out)
    assert page.index(report["summary"][:20]) < page.index("<table>")
    found = [(d["scene"], d["label"]) for d in report["differences"]]
    assert len(found) == 4
    assert found[-1] == (f"{photos.parent.name}/{photos.name} 0", after)
    assert all(d["depth_change"] > 0 for d in report["differences"])


def test_two_runs_give_the_same_bits(lite3r: Any, finished: Any) -> None:
    assert lite3r.distill("--out", "a", "--quiet").code == 0
    first, second = (Path(n, "adapter.safetensors").read_bytes() for n in ("a", finished.folder))
    assert first == second


def test_too_few_photos_are_said_to_be_measured_on(lite3r: Any, photos: Path) -> None:
    (photos / "1.png").unlink()
    done = lite3r.distill("--data", photos, "--out", "a")
    assert "photos that the student learned from" in done.err.replace("\n", " ")


def test_copies_of_photos_are_not_held_out(lite3r: Any, photos: Path) -> None:
    for name in ("1.png", "2.jpg"):
        (photos / f"copy of {name}").write_bytes((photos / name).read_bytes())
    done = lite3r.distill("--data", photos, "--out", "a")
    assert "Measured on 2 of 4 photos" in done.err.replace("\n", " ")
    tuned = lite3r("tune", "--data", photos, "--views", "3", "--weights", "random", "--size", "56")
    tuned.refuses("views=3; the photos make one set of so many")


def test_a_finished_run_shows_its_report_again(lite3r: Any, finished: Any) -> None:
    again = lite3r.distill("--out", finished.copied(), "--json", "--resume")
    assert "finished already" in again.err
    assert again.out == finished.printed


def test_distill_on_photos_compares_with_the_teacher(lite3r: Any, photos: Path) -> None:
    done = lite3r.distill("--data", photos, "--views", "3", "--out", "a", "--json")
    assert done.code == 0, done.err
    assert "one scene, 2 views, " in dict(json.loads(done.out)["facts"])["data"]
    rows = {row["label"]: row for row in json.loads(done.out)["rows"]}
    teacher, untrained = rows["teacher"], rows["student, untrained"]
    said = "Measured on 2 of 4 photos that the student did not learn from"
    assert said in done.err.replace("\n", " ")
    assert said in json.loads(done.out)["about"]
    assert "its depth differs from the teacher's by" in json.loads(done.out)["summary"]
    assert teacher["abs_rel"] is None
    assert 0 < untrained["abs_rel"] < 0.5


@pytest.mark.usefixtures("short")
def test_every_recipe_runs(lite3r: Any) -> None:
    for number, words in enumerate(
        (
            ("--fp8", "none", "--set", "linear=complement"),
            ("--recipe", "paper", "--set", "feature_map=elu1"),
            ("--trainable", "attn", "--fp8", "tensorwise", "--match", "outputs"),
            ("--recipe", "fast", "--trainable", "gains"),
        )
    ):
        done = lite3r.distill(*words, "--out", f"run{number}", "--quiet")
        assert done.code == 0, done.err
        assert lite3r("info", f"run{number}", "--json").code == 0


def test_reconstruct_reads_mixed_photos_and_writes_every_format(lite3r: Any, photos: Path) -> None:
    done = lite3r("reconstruct", photos, "--weights", "random", "--size", "56", "--out", "out")
    assert done.code == 0, done.err
    assert "4 views" in done.out
    assert done.err.endswith("to turn it around: out/scene.html\n") and "\n\n" not in done.err
    with np.load("out/prediction.npz") as data:
        assert list(data["names"]) == ["1.png", "2.jpg", "3 gedreht.jpg", "10.jpg"]
        sizes, cameras = data["original_size"], data["original_intrinsics"]
        np.testing.assert_array_equal(sizes, [(90, 60), (60, 90), (90, 60), (120, 80)])
        np.testing.assert_allclose(cameras[:, :2, 2], sizes / 2, rtol=1e-6)
        np.testing.assert_allclose(data["world_to_camera"][0], np.eye(4)[:3], atol=1e-9)
        depth = np.asarray(Image.open("out/depth/3 gedreht.png"))
        assert depth.shape == data["depth"].shape[1:]
    frames = json.loads(Path("out/transforms.json").read_text())["frames"]
    assert all((Path("out") / frame["file_path"]).is_file() for frame in frames)
    models = {p.name for p in Path("out/sparse/0").iterdir()}
    assert models == {"cameras.bin", "images.bin", "points3D.bin"}  # text would cut "3 gedreht.jpg"


def test_a_model_as_text_is_written_where_it_is_named(lite3r: Any, photos: Path) -> None:
    words = ("reconstruct", photos, "--weights", "random", "--size", "28", "--formats")
    for forms in (("colmap_text",), ("colmap", "colmap_text")):
        before = ("--weights", "gone.safetensors", "--out", "cut")  # even weights are not read
        lite3r(*words, *forms, *before).refuses("'3 gedreht.jpg' has a space")
    assert not Path("cut").exists()
    (photos / "3 gedreht.jpg").rename(photos / "3.jpg")
    assert lite3r(*words, "colmap_text", "--out", "out").code == 0
    assert {p.suffix for p in Path("out/sparse/0").iterdir()} == {".txt"}


def test_reconstruct_with_a_student_differs_from_its_teacher(
    lite3r: Any, photos: Path, finished: Any
) -> None:
    finished.copied("a")
    depths = []
    for words in (("--model", "a"), ("--weights", "random")):
        done = lite3r("reconstruct", photos, *words, "--size", "56", "--formats", "npz",
                      "--out", "out", "--overwrite")  # fmt: skip
        assert done.code == 0, done.err
        with np.load("out/prediction.npz") as data:
            depths.append(data["depth"])
    assert not np.array_equal(*depths)
    assert np.abs(depths[0] / depths[1] - 1).max() < 0.5


def test_photos_are_spread_and_lists_are_read(lite3r: Any, photos: Path) -> None:
    listed = photos / "list.txt"
    listed.write_text("10.jpg\n1.png\n\n2.jpg\n")
    done = lite3r("reconstruct", listed, "--weights", "random", "--size", "56", "--out", "out",
                  "--max-views", "2", "--formats", "npz")  # fmt: skip
    assert done.code == 0, done.err
    with np.load("out/prediction.npz") as data:
        assert list(data["names"]) == ["10.jpg", "2.jpg"]


def test_a_log_file_repeats_what_was_said(lite3r: Any, finished: Any) -> None:
    words = ("--out", finished.copied(), "--resume", "--quiet", "--log-file", "log.txt")
    assert lite3r.distill(*words).code == 0
    assert "run is finished already" in Path("log.txt").read_text()


def test_info_lists_backbones_with_their_licenses(lite3r: Any) -> None:
    facts = json.loads(lite3r("info", "--json").out)
    assert "CC BY-NC" in facts["backbones"]["da3-large"]
    assert facts["backbones"]["da3-tiny"].startswith("(bundled, ")
    assert facts["backbones"]["vggt-tiny"].startswith("(bundled, ")
    assert facts["backbones"]["da3metric-tiny"].startswith("(no weights, ")  # for tests and trials
    assert facts["versions"]["torch"]


def test_version(lite3r: Any) -> None:
    assert lite3r("--version").out.startswith("lite3r 0.")


@pytest.mark.parametrize("words", [("--help",), ("distill", "--help"), ("reconstruct", "--help")])
def test_help_ends_well(lite3r: Any, words: tuple[str, ...]) -> None:
    assert lite3r(*words).code == 0


def test_scenes_made_on_disk_are_checked_and_evaluated(lite3r: Any) -> None:
    words = ("--scenes", "2", "--views", "3", "--size", "56")
    assert lite3r("data", "make", "scenes", *words).code == 0
    assert json.loads(lite3r("data", "check", "scenes", "--json").out)["problems"] == []
    found = {}
    for data in ("synthetic", "scenes"):
        done = lite3r("eval", "--weights", "random", "--data", data, *words, "--json")
        assert done.code == 0, done.err
        entries = json.loads(done.out)["entries"]
        found[data] = [e["numbers"]["abs_rel"] for e in entries if "abs_rel" in e["numbers"]]
    assert found["scenes"] == pytest.approx(found["synthetic"], rel=0.05)  # JPEG, other order


def test_check_names_every_broken_file(lite3r: Any, photos: Path) -> None:
    (photos / "4.jpg").write_text("no picture")
    done = lite3r("data", "check", photos, "--json")
    assert done.code == 2
    (problem,) = json.loads(done.out)["problems"]
    assert "4.jpg" in problem
    lite3r("data", "make", "scenes", "--scenes", "2", "--views", "2", "--size", "28")
    broken = next(Path("scenes").glob("*1/rendered_depth_maps/00000000.pfm"))
    broken.write_bytes(b"Pf\n28 28\n-1.0\n")
    done = lite3r("data", "check", "scenes", "--json")
    assert done.code == 2
    (problem,) = json.loads(done.out)["problems"]
    assert broken.name in problem
    pairs = next(Path("scenes").glob("*0/cams/pair.txt"))
    pairs.unlink()  # which eval chooses views by
    told = json.loads(lite3r("data", "check", "scenes", "--json").out)["problems"]
    assert ["pair.txt" in problem for problem in told] == [True, False]


def test_an_exported_student_needs_no_teacher_and_predicts_the_same(
    lite3r: Any, finished: Any
) -> None:
    """What is deployed computes, bit for bit, what was trained."""
    finished.copied()
    done = lite3r("export", "run", "--out", "light", "--json")
    assert done.code == 0, done.err
    assert len(done.err.splitlines()) < 3 < len(json.loads(done.out)["layers"])
    assert {p.name for p in Path("light").iterdir()} == {"config.json", "model.safetensors"}
    config = json.loads(Path("light/config.json").read_text())
    config["teacher"]["weights"] = "/nowhere"
    Path("light/config.json").write_text(json.dumps(config))
    images = torch.rand(2, 3, 84, 84)
    trained, deployed = lite3r_module.load("run"), lite3r_module.load("light")
    one, other = trained.reconstruct(images), deployed.reconstruct(images)
    assert torch.equal(one.depth, other.depth)
    assert torch.equal(one.world_to_camera, other.world_to_camera)
    whole = sum(p.numel() * 4 for p in trained.teacher.load().parameters())
    assert Path("light/model.safetensors").stat().st_size < 0.6 * whole
