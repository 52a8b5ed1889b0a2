"""What `lite3r export` writes loads in two lines, computes the same, and says what it is."""

import inspect
import json
import re
import shlex
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import lite3r as module
from lite3r.distillation.card import card
from lite3r.distillation.folder import read_report
from lite3r.student.deploy import export, number_type
from lite3r.student.recipes import by_name, tiles
from lite3r.student.student import TeacherSpec
from recon_backbones import load_backbone

pytestmark = pytest.mark.usefixtures("short")


@pytest.fixture
def student() -> Any:
    return module.lighten(load_backbone("da3-tiny", weights="random"), tiles())


@pytest.fixture
def report() -> dict[str, Any]:
    return {
        "rows": [
            {"label": "teacher", "abs_rel": 0.1, "delta1": 0.9, "auc30": None},
            {"label": "student", "abs_rel": 0.12, "delta1": 0.88, "auc30": None},
        ],
        "facts": [["data", "synthetic: 24 unseen scenes"]],
        "summary": "It is as good.",
        "notes": ["This CPU multiplies no FP8."],
        "environment": {
            "gpu": None,
            "processor": "a CPU",
            "threads": 2,
            "versions": {"torch": "2"},
        },
    }


def metadata(text: str) -> dict[str, Any]:
    _, head, _ = text.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(head)
    return found


def test_a_program_read_back_equals_the_student(lite3r: Any, student: Any) -> None:
    student.save("run")
    shape = ("--views", "2", "--height", "28", "--width", "42")
    done = lite3r("export", "run", "--out", "light", "--kind", "program", *shape, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["largest_difference"] < 1e-5
    program, deployed = (
        module.load_program("light/program.pt2"),
        module.load("light", backend="reference", precision="float32"),
    )
    images = torch.rand(2, 3, 28, 42)
    one, other = program(images), deployed.reconstruct(images)
    for name in ("depth", "depth_conf", "world_to_camera", "intrinsics"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-5)
    assert program.facts["teacher"]["backbone"] == "da3-tiny"
    with pytest.raises(ValueError, match="takes 2 views of 42 x 28"):
        program(torch.rand(3, 3, 28, 42))


def test_what_was_saved_last_is_loaded(tmp_path: Path) -> None:
    teacher = load_backbone("da3-tiny", weights="random")
    first, last = (module.lighten(teacher, tiles()) for _ in range(2))
    for number in last.trained().values():
        torch.nn.init.constant_(number, 0.1)
    first.save(tmp_path)
    export(first, tmp_path)
    last.save(tmp_path)
    images = torch.rand(2, 3, 28, 42)
    found = module.load(tmp_path, backend="reference", precision="float32").reconstruct(images)
    assert torch.equal(found.depth, last.reconstruct(images).depth)


@pytest.mark.parametrize("trainable", ["out", "lora", "all"])
def test_what_was_trained_has_the_same_codes_exported_or_not(
    tmp_path: Path, trainable: Any
) -> None:
    recipe = replace(by_name("balanced"), trainable=trainable, fp8_stored=())
    one = module.lighten(load_backbone("da3-tiny", weights="random"), recipe)
    one.save(tmp_path / "run")
    export(module.load(tmp_path / "run", backend=None), tmp_path / "light")
    run, light = (
        module.load(tmp_path / name, precision="bfloat16").backbone.state_dict()
        for name in ("run", "light")
    )
    assert run.keys() == light.keys()
    assert [name for name in run if not torch.equal(run[name].float(), light[name].float())] == []


def test_an_unknown_precision_is_refused() -> None:
    unchecked = inspect.unwrap(number_type)  # as callers get it, whose types nobody checks
    with pytest.raises(ValueError, match="precision=fp16; it must be known: auto, float32"):
        unchecked("fp16", torch.device("cpu"))


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lite3r export --kind program"):
        module.load_program(tmp_path / "missing.pt2")
    (tmp_path / "other.pt2").write_text("no program")
    with pytest.raises(ValueError, match=r"other\.pt2 is no program"):
        module.load_program(tmp_path / "other.pt2")


def test_a_shape_that_does_not_fit_leaves_nothing(lite3r: Any, student: Any) -> None:
    student.save("run")
    done = lite3r("export", "run", "--out", "light", "--kind", "program", "--width", "50")
    assert done.code == 2
    assert "multiples of 14" in done.err
    assert {p.name for p in Path().iterdir()} == {"run"}


def test_a_hub_folder_loads_and_its_card_says_what_was_measured(
    lite3r: Any, student: Any, report: dict[str, Any]
) -> None:
    student.save("run")
    Path("run/report.json").write_text(json.dumps(report))
    done = lite3r("export", "run", "--out", "light", "--kind", "hub")
    assert done.code == 0, done.err
    assert {p.name for p in Path("light").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "report.json",
    }
    assert module.load("light").recipe == student.recipe
    text = Path("light/README.md").read_text()
    found = metadata(text)
    assert found["library_name"] == "lite3r"
    (metrics,) = (r["metrics"] for r in found["model-index"][0]["results"])
    assert {m["name"]: m["value"] for m in metrics} == {"AbsRel": 0.12, "δ1": 0.88}
    assert found["model-index"][0]["results"][0]["dataset"]["name"] == report["facts"][0][1]
    assert "| student | 0.120 | 0.880 |" in text
    assert "a CPU, 2 threads" in text
    assert "hf upload USER/light light" in text


def test_what_is_shown_to_be_copied_takes_any_name(lite3r: Any, student: Any) -> None:
    student.save("run")
    name = 'my "light" \\new'
    done = lite3r("export", "run", "--out", name)
    assert done.code == 0, done.err
    names: dict[str, Any] = {}
    exec(textwrap.dedent(done.out.partition("\n\n")[2]), names)
    assert names["student"].recipe == student.recipe
    (command,) = re.findall("`(hf upload .*)` ", card(student, None, name="my students"))
    assert shlex.split(command) == ["hf", "upload", "USER/my-students", "my students"]


def test_a_card_without_a_report_says_that_nothing_was_measured(student: Any) -> None:
    text = card(student, None, name="light")
    assert "Nothing: the run holds no report.json." in text
    assert "model-index" not in metadata(text)


def test_a_card_names_the_attention_that_is_sparse_and_fp8_where_it_is(student: Any) -> None:
    assert "fp8" in metadata(card(student, None, name="light"))["tags"]
    other = replace(student, recipe=replace(by_name("paper"), fp8="none"))
    text = card(other, None, name="light")
    assert "its global and frame attention is sparse" in text
    assert "fp8" not in metadata(text)["tags"]


@pytest.mark.parametrize(
    ("backbone", "license"),
    [("da3-small", "apache-2.0"), ("da3-large", "cc-by-nc-4.0"), ("vggt-1b", "other")],
)
def test_the_card_carries_the_license_of_the_teacher(
    student: Any, backbone: str, license: str
) -> None:
    fields = vars(student) | {"teacher": TeacherSpec(backbone=backbone, weights="hub")}
    found = metadata(card(type(student)(**fields), None, name="light"))
    assert found["license"] == license
    assert found["base_model"].count("/") == 1
    assert ("license_name" in found) == (license == "other")


def test_a_damaged_report_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"rows": []}')
    with pytest.raises(ValueError, match=r"report\.json is damaged"):
        read_report(tmp_path)


def test_weights_beside_an_exported_student_are_refused(tmp_path: Path, student: Any) -> None:
    export(student, tmp_path)
    with pytest.raises(ValueError, match=r"weights=w; .* was exported and holds its own"):
        module.load(tmp_path, weights="w")


@pytest.mark.parametrize("exported", [False, True])
def test_a_device_that_is_not_there_is_refused(
    tmp_path: Path, student: Any, exported: bool
) -> None:
    export(student, tmp_path) if exported else student.save(tmp_path)
    with pytest.raises(ValueError, match="device=cuda:99; PyTorch must find it here"):
        module.load(tmp_path, device="cuda:99")
