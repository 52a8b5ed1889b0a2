"""Reports: nothing lost on the way to disk, shards merge exactly, comparisons are paired."""

import json
import math
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon_eval import Report, depth, efficiency, pose
from recon_eval.report import bootstrap_interval, compare


def result(seed: int, noise: float = 0.1) -> depth.DepthResult:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(2, 4, 5, generator=generator) + 1
    predicted = target * (1 + noise * torch.rand(2, 4, 5, generator=generator))
    return depth.evaluate(predicted, target)


def report(scenes: range, noise: float = 0.1, model: str = "teacher") -> Report:
    made = Report(model=model, dataset="synthetic/test", seed=0)
    for scene in scenes:
        made.add(f"scene {scene}", result(scene, noise), frames=[0, 1])
    return made


def test_a_number_carries_protocol_alignment_scale_frames_seed_counts_and_versions() -> None:
    values = report(range(3)).to_dict()
    assert values["seed"] == 0
    assert set(values["versions"]) >= {"recon-eval", "torch", "numpy", "scipy", "python"}
    entry = values["entries"][0]
    assert entry["protocol"] == "depth/median/sequence"
    assert entry["frames"] == ["0", "1"]
    facts = entry["provenance"]
    assert facts["alignment"] == "median"
    assert len(facts["scales"]) == 1
    assert (facts["valid"], facts["ignored"], facts["dropped_views"]) == (40, 0, 0)


def test_json_holds_everything_also_what_is_undefined(tmp_path: Path) -> None:
    made = report(range(2))
    still = torch.eye(3, 4, dtype=torch.float64).repeat(2, 1, 1)
    made.add("still", pose.evaluate(still, still))
    made.add("cost", efficiency.measure(lambda: None, warmup=0, repeats=3))
    made.drop("empty", "no valid pixel")
    path = tmp_path / "report.json"
    made.save(path)
    text = path.read_text()
    assert "NaN" not in text
    json.loads(text)
    again = Report.load(path)
    assert again.to_dict() == made.to_dict()
    assert math.isnan(again.values("pose/pairs/signed", "rta30")["still"])
    undefined = [s for s in again.summary() if s.metric == "rta30"]
    assert (undefined[0].scenes, undefined[0].undefined) == (0, 1)


@given(cut=st.integers(0, 6), order=st.permutations([0, 1]))
@settings(deadline=None, max_examples=10)
def test_shards_merge_to_the_report_of_one_process(cut: int, order: list[int]) -> None:
    shards = [report(range(cut)), report(range(cut, 6))]
    merged = Report.merge([shards[i] for i in order])
    whole = report(range(6))
    assert json.dumps(merged.to_dict()) == json.dumps(whole.to_dict())
    assert merged.summary() == whole.summary()


def test_what_does_not_belong_together_is_not_merged() -> None:
    with pytest.raises(ValueError, match="model: shards have 'teacher' and 'student'"):
        Report.merge([report(range(1)), report(range(1, 2), model="student")])
    with pytest.raises(ValueError, match="already in the report"):
        Report.merge([report(range(2)), report(range(1, 3))])
    with pytest.raises(ValueError, match="is empty"):
        Report.merge([])


def test_a_scene_is_added_or_dropped_once() -> None:
    made = report(range(1))
    with pytest.raises(ValueError, match="already in the report"):
        made.add("scene 0", result(0))
    with pytest.raises(ValueError, match="already in the report"):
        made.drop("scene 0", "twice")
    assert len(made.entries) == 1


def test_the_mean_is_over_scenes_and_inside_its_interval() -> None:
    made = report(range(8))
    row = next(s for s in made.summary() if s.metric == "abs_rel")
    values = list(made.values("depth/median/sequence", "abs_rel").values())
    assert row.mean == pytest.approx(np.mean(values))
    assert row.low < row.mean < row.high
    assert row.scenes == 8


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        values = rng.normal(size=40)
        low, high = bootstrap_interval(values, level=0.9, resamples=400, seed=trial)
        hits += low <= 0 <= high
    assert 0.83 <= hits / 200 <= 0.96


def test_intervals_of_thousands_of_scenes_are_those_of_one_draw_in_little_memory() -> None:
    values, draws = np.random.default_rng(0).normal(size=3000), 2000
    index = np.random.default_rng(5).integers(len(values), size=(draws, len(values)))
    wanted = np.quantile(values[index].mean(axis=1), [0.025, 0.975])
    tracemalloc.start()
    found = bootstrap_interval(values, level=0.95, resamples=draws, seed=5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(found, wanted)
    assert peak < index.nbytes  # which were held twice


def test_one_scene_has_no_interval() -> None:
    assert all(math.isnan(s.low) and math.isnan(s.high) for s in report(range(1)).summary())


def test_pairing_sees_a_difference_that_is_small_against_the_spread_of_scenes() -> None:
    teacher, student = report(range(8), 0.3), report(range(8), 0.33, model="student")
    found = compare(teacher, student)
    row = next(d for d in found.differences if d.metric == "abs_rel")
    spread = next(s for s in teacher.summary() if s.metric == "abs_rel")
    assert 0 < row.low < row.mean < row.high
    assert row.high - row.low < (spread.high - spread.low) / 2
    assert "| teacher | student |" in found.markdown()
    assert json.dumps(found.to_dict(), allow_nan=False)


@dataclass(frozen=True)
class Fixed:
    """A result that is one known number."""

    value: float
    protocol: str = "fixed/1"

    def numbers(self) -> dict[str, float]:
        return {"error": self.value}

    def provenance(self) -> dict[str, object]:
        return {"scale": 2.0, "valid": 7}


def fixed(model: str, *values: float) -> Report:
    made = Report(model=model, dataset="by hand", seed=0)
    for scene, value in zip("abc", values, strict=False):
        made.add(scene, Fixed(value), frames=[3])
    return made


def test_a_comparison_equals_one_made_by_hand() -> None:
    """Differences 1 and 3: their mean is 2; draws of two have the means 1, 2, 2 and 3."""
    found = compare(fixed("teacher", 1.0, 10.0), fixed("student", 2.0, 13.0))
    (row,) = found.differences
    assert (row.mean, row.low, row.high, row.scenes) == (2.0, 1.0, 3.0, 2)
    assert (found.first_means, found.second_means) == ((5.5,), (7.5,))
    less = compare(fixed("t", 1.0, 10.0), fixed("s", 2.0, 13.0), level=0.4)
    (half,) = less.differences
    assert (half.low, half.high, half.level) == (2.0, 2.0, 0.4)  # half of all draws
    assert "| difference | 40 % interval |" in less.markdown()
    assert found.markdown() == (
        "| protocol | metric | teacher | student | difference | 95 % interval | scenes |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        "| fixed/1 | error | 5.5 | 7.5 | 2 | 1 to 3 | 2 |\n"
    )
    assert found.to_dict() == [
        {
            "protocol": "fixed/1",
            "metric": "error",
            "first": 5.5,
            "second": 7.5,
            "difference": 2.0,
            "low": 1.0,
            "high": 3.0,
            "level": 0.95,
            "scenes": 2,
        }
    ]


def test_a_scene_undefined_in_one_model_is_left_out_of_both_means() -> None:
    found = compare(fixed("t", 1.0, 10.0, math.nan), fixed("s", 2.0, 13.0, 5.0))
    assert (found.first_means, found.second_means) == ((5.5,), (7.5,))
    assert (found.differences[0].scenes, found.differences[0].undefined) == (2, 1)


def test_infinity_is_undefined_before_a_report_is_saved_and_after(tmp_path: Path) -> None:
    first, second = fixed("one", 1.0, 2.0, 4.0), fixed("two", 2.0, math.inf, 6.0)
    second.save(tmp_path / "two.json")
    loaded = Report.load(tmp_path / "two.json")
    assert loaded.summary() == second.summary()
    assert (loaded.summary()[0].mean, loaded.summary()[0].undefined) == (4.0, 1)
    assert compare(first, loaded) == compare(first, second)
    assert compare(first, second).first_means == (2.5,)


def test_a_report_on_disk_holds_means_and_intervals(tmp_path: Path) -> None:
    made = fixed("m", 1.0, 3.0)
    made.save(tmp_path / "report.json")
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["summary"] == [
        {
            "protocol": "fixed/1",
            "metric": "error",
            "mean": 2.0,
            "low": 1.0,
            "high": 3.0,
            "level": 0.95,
            "scenes": 2,
            "undefined": 0,
        }
    ]
    assert stored["entries"][0] == {
        "scene": "a",
        "protocol": "fixed/1",
        "frames": ["3"],
        "numbers": {"error": 1.0},
        "provenance": {"scale": 2.0, "valid": 7},
    }
    text = made.markdown()
    assert "| fixed/1 | error | 2 | 1 to 3 | 2 | 0 |" in text
    assert "| fixed/1 | a | 3 | scale 2, valid 7 |" in text
    assert f"recon-eval {made.versions['recon-eval']}" in text and "Seed 0." in text


def test_a_model_does_not_differ_from_itself() -> None:
    found = compare(report(range(4)), report(range(4)))
    assert {(d.mean, d.low, d.high) for d in found.differences} == {(0.0, 0.0, 0.0)}


def test_only_reports_on_the_same_scenes_and_frames_are_compared() -> None:
    with pytest.raises(ValueError, match="are in one report only"):
        compare(report(range(3)), report(range(4)))
    other = Report(model="student", dataset="synthetic/test", seed=0)
    other.add("scene 0", result(0), frames=[0, 2])
    with pytest.raises(ValueError, match="frames are"):
        compare(report(range(1)), other)
    with pytest.raises(ValueError, match="dataset: the reports have"):
        compare(report(range(1)), Report(model="a", dataset="b", seed=0))
    with pytest.raises(ValueError, match="share no protocol"):
        compare(report(range(1)), Report(model="a", dataset="synthetic/test", seed=0))


def test_markdown_prints_the_protocol_beside_every_number(tmp_path: Path) -> None:
    made = report(range(3))
    made.drop("a|b", "broken\nfile")
    made.save(tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    rows = [line for line in text.splitlines() if "abs_rel" in line]
    assert rows and all("depth/median/sequence" in row for row in rows)
    assert "a\\|b | broken file" in text
    assert "scales [" in text


def test_other_files_are_not_read_as_reports(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"written as \.json or \.md"):
        report(range(1)).save(tmp_path / "report.txt")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match="format=None"):
        Report.load(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("hello")
    with pytest.raises(ValueError, match=r"b\.json: is no JSON"):
        Report.load(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("numbers", {"abs_rel": 10**400}),
        ("frames", [1, True]),
        ("provenance", [1]),
        ("scene", 3),
    ],
)
def test_a_damaged_report_is_refused_as_it_is_read(
    tmp_path: Path, name: str, value: object
) -> None:
    stored = report(range(2)).to_dict()
    stored["entries"][0][name] = value
    (tmp_path / "a.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=r"a\.json: is not a report written by Report\.save"):
        Report.load(tmp_path / "a.json")


class Mine:
    """A result of a metric that someone else wrote."""

    protocol = "mine"

    def numbers(self) -> Any:
        return {"abs_rel": np.float32(0.5), "delta1": torch.tensor(0.25), "rmse": np.int64(3)}

    def provenance(self) -> dict[str, object]:
        return {}


def test_numbers_of_any_library_are_saved(tmp_path: Path) -> None:
    report = Report(model="m", dataset="d")
    report.add("a", Mine())
    report.save(tmp_path / "a.json")
    numbers = Report.load(tmp_path / "a.json").entries["mine", "a"].numbers
    assert numbers == {"abs_rel": 0.5, "delta1": 0.25, "rmse": 3.0}


def test_a_metric_that_no_entry_has_is_refused_with_those_there_are() -> None:
    report = Report(model="m", dataset="d")
    assert report.values("depth/median/sequence", "abs_rel") == {}
    maps = torch.rand(2, 4, 5) + 1
    report.add("s", depth.evaluate(maps, maps))
    assert report.values("depth/median/sequence", "abs_rel") == {"s": 0.0}
    with pytest.raises(ValueError, match=r"metric='absrel'; it must be one of .*: abs_rel, sq_rel"):
        report.values("depth/median/sequence", "absrel")
