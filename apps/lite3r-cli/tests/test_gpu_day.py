"""The command for a day on a GPU, rehearsed: steps end in time, rows are kept, calls go on."""

import importlib.util
import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).parents[3] / "tools"


@pytest.fixture(scope="module", autouse=True)
def gpu() -> None:
    """Make the command's package known, as its own folder does when it is run."""
    folder = TOOLS / "gpu"
    spec = importlib.util.spec_from_file_location(
        "gpu", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    sys.modules["gpu"] = importlib.util.module_from_spec(spec)


def rehearse(out: Path, *steps: str) -> list[dict[str, Any]]:
    """The rows of the last step."""
    command = [sys.executable, str(TOOLS / "gpu_day.py"), "--rehearse", "--out", str(out)]
    wheels = ["--wheels", str(out / "none")]
    subprocess.run([*command, *wheels, "--only", *steps], check=True, capture_output=True)
    rows: list[dict[str, Any]] = json.loads((out / f"{steps[-1]}.json").read_text())["rows"]
    return rows


@pytest.mark.multiplies
def test_a_second_call_keeps_the_rows_and_adds_none(tmp_path: Path) -> None:
    first = rehearse(tmp_path, "linears")
    assert first and all(row["ms"] > 0 for row in first)
    assert {row["layer"] for row in first} == {"qkv", "proj", "fc1", "fc2"}
    assert rehearse(tmp_path, "linears") == first
    ended = json.loads((tmp_path / "day.json").read_text())["steps"]
    assert [(step["step"], step["how"]) for step in ended] == [("linears", "done")]


def test_all_limits_together_are_below_eight_minutes() -> None:
    plan = import_module("gpu.plan")
    assert sum(step.seconds for step in plan.STEPS if not step.asked) < 480
    for step in plan.STEPS:
        assert (TOOLS / "gpu" / "steps" / f"{step.module}.py").is_file()


def test_what_failed_is_tried_again_by_the_next_call_alone(tmp_path: Path) -> None:
    record = import_module("gpu.record").Record
    calls: list[str] = []

    def fails() -> dict[str, Any]:
        calls.append("failing")
        raise RuntimeError("no such kernel")

    def works() -> dict[str, Any]:
        calls.append("working")
        return {"ms": 1.0}

    path = tmp_path / "step.json"
    one = record(path, run="one", rehearse=True)
    assert "no such kernel" in one.row({"n": 1}, fails)["failed"]
    one.row({"n": 1}, fails)
    assert calls == ["failing"]
    two = record(path, run="two", rehearse=True)
    assert two.row({"n": 1}, works)["ms"] == 1.0
    record(path, run="three", rehearse=True).row({"n": 1}, works)
    assert calls == ["failing", "working"]
    assert len(json.loads(path.read_text())["rows"]) == 1


def test_a_broken_device_ends_the_process_after_the_row_is_written(tmp_path: Path) -> None:
    module = import_module("gpu.record")
    path = tmp_path / "step.json"

    def breaks() -> dict[str, Any]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(module.DeviceBroken):
        module.Record(path, run="one", rehearse=True).row({"n": 1}, breaks)
    assert "illegal" in json.loads(path.read_text())["rows"][0]["failed"]


def test_a_step_beyond_its_limit_is_ended_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, plan = import_module("gpu.run"), import_module("gpu.plan")
    day = module.Day(out=tmp_path, rehearse=False, site=None, run="now")
    waits = {"slow": "import time; time.sleep(60)", "quick": "pass"}
    monkeypatch.setattr(module, "words", lambda day, step: [sys.executable, "-c", waits[step.name]])
    steps = [
        plan.Step(name="slow", seconds=1.0, module=""),
        plan.Step(name="quick", seconds=50, module=""),
    ]
    assert not module.run_all(day, steps)
    ended = json.loads((tmp_path / "day.json").read_text())["steps"]
    assert [step["how"] for step in ended] == ["time limit", "done"]


def test_a_device_that_broke_gets_a_new_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, plan = import_module("gpu.run"), import_module("gpu.plan")
    once = f"import pathlib, sys; p = pathlib.Path({str(tmp_path / 'seen')!r}); seen = p.exists(); "
    once += "p.touch(); sys.exit(0 if seen else 3)"
    monkeypatch.setattr(module, "words", lambda day, step: [sys.executable, "-c", once])
    day = module.Day(out=tmp_path, rehearse=False, site=None, run="now")
    ended = module.run(day, plan.Step(name="any", seconds=60, module=""))
    assert ended.how == "done"


def test_children_import_this_repository_and_what_was_carried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, plan = import_module("gpu.run"), import_module("gpu.plan")
    monkeypatch.setenv("PYTHONPATH", "given")
    day = module.Day(out=tmp_path, rehearse=False, site=tmp_path / "site", run="now")
    words = module.words(day, plan.by_name("rows"))
    asked = [*words[: words.index(sys.executable)], "printenv", "PYTHONPATH"]
    places = subprocess.run(asked, capture_output=True, text=True).stdout.strip().split(":")
    assert places[-2:] == [str(tmp_path / "site"), "given"]
    assert str(TOOLS.parent / "packages" / "sla-kernels" / "src") in places[:-2]


def test_what_needs_no_compiling_and_is_short_comes_first() -> None:
    models, setting = import_module("gpu.steps.models"), import_module("gpu.setting")
    day = setting.Setting(step="vggt-1b", device="cuda", rehearse=False, out=Path())
    pairs = models.pairs(day, models.VARIANTS)
    assert len(set(pairs)) == len(pairs) == 5 * 6 + 3 * 3  # captured at three numbers of views
    assert pairs[0] == (2, "dense bfloat16")
    assert pairs[-1] == (300, "dense bfloat16, compiled")
    eager = [pair for pair in pairs if pair[1] in models.EAGER and pair[0] < models.LONG]
    assert pairs[: len(eager)] == eager


def test_checks_are_run_ahead_in_processes_that_end_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smoke = import_module("gpu.steps.smoke")
    program = tmp_path / "stand_in.py"
    program.write_text(
        "import pathlib, sys, time\n"
        f"pathlib.Path({str(tmp_path)!r}, sys.argv[-1]).touch()\n"
        "time.sleep(60 * (sys.argv[-1] == 'slow'))\n"
    )
    monkeypatch.setattr(smoke, "COMMAND", program)
    monkeypatch.setattr(smoke, "AHEAD_SECONDS", 5.0)
    began = time.monotonic()
    smoke.compile_ahead(["slow", "one", "two"])
    assert 4.9 < time.monotonic() - began < 20
    assert all((tmp_path / name).is_file() for name in ("slow", "one", "two"))
