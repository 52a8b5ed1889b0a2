"""Networks on the same scenes: paired intervals, kept measurements, panels."""

import json
import sys
from pathlib import Path
from subprocess import Popen
from xml.etree import ElementTree

import numpy as np
import pytest

from recon_eval.report import Kept, Panel, Point, difference, mean, ratio, svg


def test_intervals_are_paired() -> None:
    rng = np.random.default_rng(0)
    base = {str(i): {"abs_rel": float(v)} for i, v in enumerate(rng.uniform(0.1, 1, 40))}
    worse = {k: {"abs_rel": 1.02 * v["abs_rel"]} for k, v in base.items()}
    found = ratio(worse, base, "abs_rel")
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(1.02), pytest.approx(1.02))
    gap = difference(worse, base, "abs_rel", 100)
    assert gap is not None
    assert gap.low < gap.value < gap.high
    assert gap == difference(worse, base, "abs_rel", 100)
    assert ratio(base, {}, "abs_rel") is None


def test_figures_that_a_scene_lacks_count_for_neither() -> None:
    one = {"a": {"x": 2.0}, "b": {"x": None}, "c": {"x": 8.0}}
    other = {"a": {"x": 1.0}, "b": {"x": 5.0}, "d": {"x": 9.0}}
    found = ratio(one, other, "x")
    assert found is not None
    assert (found.value, found.low, found.high) == (2.0, None, None)
    assert (mean(one, "x"), mean(one, "y")) == (5.0, None)


def test_one_scene_has_no_interval_and_shows_nothing() -> None:
    found = difference({"a": {"x": 9.0}}, {"a": {"x": 1.0}}, "x")
    assert found is not None and not found.without(0.0)
    assert (found.text(2), found.text(1, "x")) == ("+8.00", "8.0x")
    assert json.loads(json.dumps(found.to_dict()))["low"] is None


@pytest.mark.filterwarnings("ignore:invalid value")
def test_networks_without_any_error_on_a_scene_are_not_surely_different() -> None:
    figures = {"a": {"x": 0.0}, "b": {"x": 1.0}}
    found = ratio(figures, figures, "x")
    assert found is not None and found.value == 1 and not found.without(1.0)


def test_what_is_kept_is_found_again_and_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    kept = Kept(path, "a benchmark", {"views": (2, 8)})
    kept.add("row", "scene", {"x": 1.0})
    kept.save(note="done")
    again = Kept(path, "a benchmark", {"views": (2, 8)})
    assert (again.find("row", "scene"), again.document["note"]) == ({"x": 1.0}, "done")
    assert again.find("row", "another") is None
    with pytest.raises(ValueError, match=r"views=\[2\] differs from \[2, 8\]"):
        Kept(path, "a benchmark", {"views": (2,)})
    with pytest.raises(ValueError, match="they must be of another"):
        Kept(path, "another", {"views": (2, 8)})
    whole = '{"what": "a benchmark", "setting": {}, "measured": {"row": {"scene": {}}}}'
    path.write_text(whole)
    assert Kept(path, "a benchmark", {}).find("row", "scene") == {}
    for part in ("", '{"row": {"scene": {}}}', '{"scene": {}}', "{}}"):
        path.write_text(whole.replace(part, "3") if part else "{")
        with pytest.raises(ValueError, match="holds no results"):
            Kept(path, "a benchmark", {})


def test_two_runs_at_once_keep_what_both_measured(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    one, other = (Kept(path, "a benchmark", {"views": (2, 8)}) for _ in range(2))
    foreign = Kept(path, "a benchmark", {"views": (2,)})
    one.add("dense", "s0", {"error": 0.5})
    one.save()
    other.add("dense", "s1", {"error": 0.25})
    other.add("sparse", "s0", {"error": 0.75})
    other.save()
    with pytest.raises(ValueError, match=r"views=\[2\] differs from \[2, 8\]"):
        foreign.save()
    one.save(verdict=["good"])
    assert json.loads(path.read_text())["measured"] == {
        "dense": {"s0": {"error": 0.5}, "s1": {"error": 0.25}},
        "sparse": {"s0": {"error": 0.75}},
    }
    anew = Kept(path, "a benchmark", {"views": (2,)}, anew=True)
    assert json.loads(path.read_text())["verdict"] == ["good"]
    for _ in range(2):
        anew.save()
    assert json.loads(path.read_text())["measured"] == {}


def test_two_processes_that_save_at_once_lose_nothing(tmp_path: Path) -> None:
    path, scenes = tmp_path / "kept.json", range(50)
    code = (
        "import pathlib, sys\n"
        "from recon_eval.report import Kept\n"
        "kept = Kept(path := pathlib.Path(sys.argv[1]), 'a benchmark', {})\n"
        "while len(kept.measured) < 2:  # until the other has begun\n"
        "    kept.add(sys.argv[2], 'first', {})\n"
        "    kept.save()\n"
        f"for scene in {scenes}:\n"
        "    kept = Kept(path, 'a benchmark', {})\n"
        "    kept.add(sys.argv[2], str(scene), {})\n"
        "    kept.save()\n"
    )
    runs = [Popen([sys.executable, "-c", code, str(path), name]) for name in ("one", "other")]
    assert [run.wait(120) for run in runs] == [0, 0]
    measured = json.loads(path.read_text())["measured"]
    assert {name: len(figures) for name, figures in measured.items()} == {"one": 51, "other": 51}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_other_settings_is_told_apart_by_the_first_that_was_given(tmp_path: Path) -> None:
    """What follows from a setting differs with it, as photos that are shown do with views."""
    path = tmp_path / "kept.json"
    Kept(path, "a benchmark", {"views": 2, "photos": ["a", "b"]}).save()
    with pytest.raises(ValueError, match=r"^views=3 differs from 2"):
        Kept(path, "a benchmark", {"views": 3, "photos": ["c"]})
    with pytest.raises(ValueError, match=r"^photos=None differs from"):
        Kept(path, "a benchmark", {"views": 2})


def test_a_panel_shows_every_point_once() -> None:
    drawn = svg(
        [Panel(title="t", x="x", y="y", points=[Point("a<b", 1, 2), Point("c", 1, 3, 2, 4)])]
    )
    titles = [e.text for e in ElementTree.fromstring(drawn).iter() if e.tag.endswith("}title")]
    assert titles == ["a<b: 1, 2", "c: 1, 3"]


def test_heights_may_be_logarithmic_and_points_joined() -> None:
    points = [Point("a", x, 10.0**x) for x in range(3)]
    drawn = svg([Panel(title="t", x="x", y="y", points=points, log=True, joined=True)])
    (line,) = [e for e in ElementTree.fromstring(drawn).iter() if e.tag.endswith("}polyline")]
    ends = np.array([pair.split(",") for pair in line.attrib["points"].split()], dtype=float)
    assert np.allclose(np.diff(ends, 2, axis=0), 0, atol=0.11)


def test_nothing_measured_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        svg([Panel(title="t", x="x", y="y", points=[])])
