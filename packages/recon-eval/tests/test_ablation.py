"""An ablation measures each row once, compares it with dense, and says who earned what."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from recon_eval import against_another
from recon_eval.ablation import (
    Allowed,
    alone_row,
    markdown,
    means_of,
    measure_rows,
    named,
    panels,
    summarize,
    tried_panels,
    tried_tables,
    verdict,
)
from recon_eval.data import Scene, SyntheticScenes
from recon_eval.report import Kept, Trials, svg

PARTS = (("The order by content", "64 blocks", "sequence order"),)


def row(auc: float, *, depth: float = 0.1) -> dict[str, Any]:
    figures = {"depth_change": 0.01, "pose_agreement": 0.9, "exact": 0.1, "seen": 0.3}
    return {
        str(i): {"abs_rel": depth, "auc30": auc + 0.01 * (i % 3), "latency_ms": 5.0, **figures}
        for i in range(9)
    }


@pytest.mark.parametrize(("auc", "word"), [(0.9, "poses better"), (0.5, "poses not told apart")])
def test_the_verdict_names_what_a_part_earned(auc: float, word: str) -> None:
    measured = {"8 views|64 blocks": row(auc), "8 views|sequence order": row(0.5)}
    said = verdict(measured, "8 views", PARTS, ())
    (sentence,) = [s for s in said if s.startswith("The order by content")]
    assert word in sentence
    assert "depth not told apart" in sentence
    assert "too few" not in sentence


@pytest.mark.parametrize("count", [1, 2, 7])
def test_few_scenes_are_called_neither_better_nor_worse(count: int) -> None:
    measured = {
        f"8 views|{name}": {scene: row(auc)[scene] for scene in map(str, range(count))}
        for name, auc in (("64 blocks", 0.9), ("sequence order", 0.5), ("dense", 0.6))
    }
    said = verdict(measured, "8 views", PARTS, ())
    assert "poses not told apart (AUC@30 +40.00" in said[1]
    assert said[1].endswith("too few scenes to tell.")
    document = {"summary": summarize(measured), "measured": measured, "verdict": said}
    assert ("| 1.000x |" in markdown(document)) == (count == 1)  # one scene has no interval
    ElementTree.fromstring(svg(panels(document, "8 views")))


def test_photos_have_a_word_of_their_own() -> None:
    said = verdict({"photos|64 blocks": row(0.5)}, "8 views", PARTS, ("64 blocks", "another"))
    assert said[1:] == [
        "On photos, 64 blocks changes dense depth by 1.00% and agrees with its cameras to AUC@30 "
        "0.90."
    ]


def test_every_row_is_measured_once_and_the_dense_one_first() -> None:
    asked: list[str] = []
    kept = Kept(None, "it", {})

    def judge(network: str, scene: Scene, dense: Any) -> tuple[dict[str, Any], str]:
        asked.append(network)
        return {"abs_rel": float(len(network)), "beside": dense}, network

    networks = {name: (lambda name=name: name) for name in ("light", "dense", "lighter")}
    scenes = SyntheticScenes("test", count=1, views=2, height=28, width=28)
    for _ in range(2):
        measure_rows("2 views", "000", lambda: scenes[0], networks, judge, kept)
    assert asked == ["dense", "light", "lighter"]
    assert kept.find(named("2 views", "light"), "000") == {"abs_rel": 5.0, "beside": "dense"}
    dense = kept.find(named("2 views", "dense"), "000")
    assert dense is not None and dense["depth_change"] == 0.0


def test_what_cannot_be_judged_is_told_by_its_row() -> None:
    def judge(network: str, scene: Scene, dense: Any) -> tuple[dict[str, Any], str]:
        if network == "light":
            raise ValueError("no number")
        return {}, network

    networks = {name: (lambda name=name: name) for name in ("dense", "light")}
    scenes = SyntheticScenes("test", count=1, views=2, height=28, width=28)
    with pytest.raises(ValueError, match="no number") as refused:
        measure_rows("2 views", "000", lambda: scenes[0], networks, judge, Kept(None, "it", {}))
    assert refused.value.__notes__ == ["row light, 2 views, scene 000"]


@pytest.mark.parametrize("pixels", [1, 28])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_change_that_is_no_number_is_refused(value: float, pixels: int) -> None:
    scene = SyntheticScenes("test", count=1, views=2, height=28, width=28)[0]
    assert scene.depth is not None and scene.world_to_camera is not None
    depth = scene.depth.clone()
    known = scene.depth, scene.world_to_camera
    assert against_another(*known, *known)["depth_change"] == 0
    depth[:, 0, :pixels] = value
    with pytest.raises(ValueError, match="both must be finite"):
        against_another(scene.depth, scene.world_to_camera, depth, scene.world_to_camera)
    if value:
        with pytest.raises(ValueError, match="both must be finite"):
            against_another(depth, scene.world_to_camera, scene.depth, scene.world_to_camera)


def test_the_summary_is_a_table_and_panels(tmp_path: Path) -> None:
    measured = {
        named("8 views", "dense"): row(0.6),
        named("8 views", "light"): row(0.5, depth=0.2),
        named("8 views", alone_row("light", "3")): row(0.55),
        named("mass", "light"): {"3": {"kept": 0.4, "best": 0.5}},
    }
    rows = summarize(measured)
    assert [r["row"] for r in rows] == ["dense", "light", "light, layer 3 alone"]
    assert rows[1]["abs_rel_of_dense"]["value"] == pytest.approx(2)
    assert rows[1]["auc30_points"]["value"] == pytest.approx(-10)
    document = {"summary": rows, "measured": measured, "verdict": ["So it is."]}
    text = markdown(document)
    assert "### 8 views" in text and "2.000x" in text and text.endswith("So it is.\n")
    drawn = panels(document, "8 views")
    ElementTree.fromstring(svg(drawn))
    assert [point.name for point in drawn[0].points] == ["dense", "light"]
    assert drawn[-1].points[0].y == pytest.approx(0.8)


def figures(depth: float, agreement: float) -> dict[str, float]:
    return {"depth_change": depth, "pose_agreement": agreement}


def test_what_is_allowed_is_held_by_the_means_over_sets() -> None:
    allowed = Allowed(allow=0.01, allow_pose=0.1)
    assert means_of([figures(0.01, 1.0), figures(0.02, 0.5)]) == pytest.approx((0.015, 0.75))
    assert allowed.holds([figures(0.015, 0.95), figures(0.004, 0.9)])
    assert not allowed.holds([figures(0.015, 0.95), figures(0.006, 0.9)])
    assert not allowed.holds([figures(0.001, 0.89)])
    assert not allowed.holds([])  # nothing is known


@pytest.mark.parametrize("changes", [{"allow": 0.0}, {"allow_pose": 1.1}, {"allow": math.nan}])
def test_what_cannot_be_allowed_is_named(changes: dict[str, float]) -> None:
    name = next(iter(changes))
    with pytest.raises(ValueError, match=f"{name}=.*; it must be above 0"):
        Allowed(**{"allow": 0.01, "allow_pose": 0.1, **changes})


def test_candidates_stand_by_cost_and_the_chosen_one_is_named() -> None:
    row = {"layer": None, "cells": "4, 64", "opened": 20, **figures(0.0123, 0.876)}
    rows = [
        {**row, "key": "b", "blocks": "64 of 4", "cost": 0.5},
        {**row, "key": "a", "blocks": "9, 7 of 4", "cost": 0.25, "held_depth": 0.02}
        | {"held_pose": 0.5},
    ]
    layer = {**row, "key": "c", "layer": "layer 3 alone", "cost": 0.1}
    first, second = tried_tables(rows, [layer], "a").split("\n\n")
    assert first.splitlines()[2:] == [
        "| 9, 7 of 4 | 4, 64 | 20 | 25.0% | 1.23% | 0.876 | 2.00%, 0.500 | chosen |",
        "| 64 of 4 | 4, 64 | 20 | 50.0% | 1.23% | 0.876 |  |  |",
    ]
    assert second.splitlines()[-1] == "| layer 3 alone | 10.0% | 1.23% | 0.876 |"
    depth, poses = tried_panels(rows)
    assert [(p.x, p.y) for p in depth.points] == [(0.5, 0.0123), (0.25, 0.0123)]
    assert poses.points[0].y == 0.876


def test_what_was_measured_before_a_failure_is_kept(tmp_path: Path) -> None:
    one, scenes = SimpleNamespace(key="one"), [SimpleNamespace(name=name) for name in "ab"]

    def measure(candidate: Any, scenes: Any) -> Any:
        yield figures(0.1, 0.9)
        raise ValueError("no number")

    trials = Trials(Kept(tmp_path / "a.json", "x", {}), measure)
    with pytest.raises(ValueError, match="no number"):
        trials.try_on(one, scenes)
    kept = Kept(tmp_path / "a.json", "x", {})
    assert [kept.find("one", scene.name) is None for scene in scenes] == [False, True]
    before = (tmp_path / "a.json").read_bytes()

    def fail(candidate: Any, scenes: Any) -> Any:
        raise ValueError("no number")

    with pytest.raises(ValueError, match="no number"):
        Trials(Kept(tmp_path / "a.json", "x", {}, anew=True), fail).try_all([one], scenes)
    assert (tmp_path / "a.json").read_bytes() == before


def test_candidates_are_tried_once_each() -> None:
    one, scene = SimpleNamespace(key="one"), SimpleNamespace(name="s")
    measured: list[str] = []

    def measure(candidate: Any, scenes: Any) -> Any:
        measured.append(candidate.key)
        return [figures(0.1, 0.9) for _ in scenes]

    trials = Trials(Kept(None, "x", {}), measure)
    assert trials.try_all(iter([one, one]), [scene]) == [one, one]
    assert measured == ["one"]
