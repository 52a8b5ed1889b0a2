"""Protocols measure what their columns show, and scenes are drawn or read by one name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recon_eval import PROTOCOLS, Answer, Protocol, Report, evaluate, means
from recon_eval.conventions import NamedResult
from recon_eval.data import (
    Scene,
    drawn_scenes,
    lesson_scenes,
    read_scenes,
    scan_list,
    write_blendedmvs,
)

SHAPE = {"views": 3, "size": 56, "seed": 0}


def truth(scene: Scene) -> Answer:
    assert scene.depth is not None
    return Answer(
        depth=scene.depth, world_to_camera=scene.world_to_camera, intrinsics=scene.intrinsics
    )


@pytest.mark.parametrize("protocol", ["median", "paper"])
def test_the_truth_is_perfect_by_every_protocol(protocol: Protocol) -> None:
    scenes = list(drawn_scenes("test", count=2, **SHAPE))
    seen = []
    report = evaluate(
        truth,
        scenes,
        model="truth",
        dataset="synthetic",
        protocol=protocol,
        advance=lambda: seen.append(1),
    )
    found = means(report, protocol)
    assert len(seen) == 2
    assert found["abs_rel"] == pytest.approx(0, abs=1e-4)
    assert found["delta1"] == 1
    assert {column.key for column in PROTOCOLS[protocol].columns} == found.keys()


def test_a_mean_counts_no_infinity_as_in_a_report_that_was_saved(tmp_path: Path) -> None:
    report = Report(model="it", dataset="synthetic")
    for name, value in (("a", float("inf")), ("b", 0.5)):
        for kind in set(PROTOCOLS["median"].sources.values()):
            keys = [k for k, source in PROTOCOLS["median"].sources.items() if source == kind]
            report.add(name, NamedResult(protocol=kind, values=dict.fromkeys(keys, value)))
    report.save(tmp_path / "a.json")
    assert means(report) == means(Report.load(tmp_path / "a.json"))
    assert means(report)["abs_rel"] == 0.5


def test_a_figure_without_truth_is_unknown() -> None:
    scenes = [replace(one, depth=None) for one in drawn_scenes("test", count=1, **SHAPE)]

    def guess(scene: Scene) -> Answer:
        return replace(truth(drawn_scenes("test", count=1, **SHAPE)[0]))

    found = means(evaluate(guess, scenes, model="it", dataset="synthetic"))
    assert found["abs_rel"] is None
    assert found["auc30"] == 1


def spoilt(bad: set[str]) -> Callable[[Scene], Answer]:
    """The truth, but for one NaN among the cameras of scenes of these names."""

    def answer(scene: Scene) -> Answer:
        told = truth(scene)
        assert told.world_to_camera is not None
        cameras = told.world_to_camera.clone()
        cameras[0, 0, 0] = torch.nan if scene.name in bad else cameras[0, 0, 0]
        return replace(told, world_to_camera=cameras)

    return answer


@pytest.mark.parametrize("protocol", ["median", "paper"])
def test_a_scene_that_cannot_be_measured_is_dropped_and_named_in_every_output(
    protocol: Protocol, tmp_path: Path
) -> None:
    scenes = list(drawn_scenes("test", count=3, **SHAPE))
    bad = scenes[1].name
    said: list[str] = []
    about = {"model": "it", "dataset": "synthetic", "protocol": protocol, "say": said.append}
    report = evaluate(spoilt({bad}), scenes, **about)
    assert list(report.dropped) == [bad]
    assert bad not in {scene for _, scene in report.entries}
    assert len(said) == 1 and said[0].startswith(f"it: {bad} is dropped")
    assert report.dropped[bad] in said[0]
    report.save(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["dropped"] == report.dropped
    page = report.markdown()
    assert "**1 of 3 scenes dropped**" in page.partition("| protocol |")[0]
    assert f"| {bad} | {report.dropped[bad]}" in page.replace("\\|", "|")
    rest = [scene for scene in scenes if scene.name != bad]
    assert means(report, protocol) == means(evaluate(truth, rest, **about), protocol)


def test_a_dropped_scene_is_warned_of_where_nothing_takes_sentences() -> None:
    scenes = list(drawn_scenes("test", count=2, **SHAPE))
    answer = spoilt({scenes[0].name})
    with pytest.warns(UserWarning, match=f"it: {scenes[0].name} is dropped"):
        evaluate(answer, scenes, model="it", dataset="synthetic")


def test_an_evaluation_of_no_scene_is_refused_with_the_reason() -> None:
    scenes = list(drawn_scenes("test", count=2, **SHAPE))
    answer = spoilt({scene.name for scene in scenes})
    reason = f"no scene of synthetic can be measured; {scenes[0].name}: "
    with pytest.raises(ValueError, match=reason):
        evaluate(answer, scenes, model="it", dataset="synthetic", say=lambda _: None)


def test_more_views_than_a_room_has_are_of_the_world() -> None:
    def one(views: int) -> Scene:
        return drawn_scenes("test", count=1, views=views, size=28, seed=0)[0]

    assert (one(2).name, one(17).name) == ("synthetic-test-0-000000", "world-test-0-000000")
    assert one(17).num_views == 17


def test_scenes_are_drawn_or_read_from_a_folder(tmp_path: Path) -> None:
    assert len(read_scenes("synthetic", count=10**9, **SHAPE)) == 10**9  # none is held
    drawn = read_scenes("synthetic", count=2, **SHAPE)
    assert [scene.num_views for scene in drawn] == [3, 3]
    for scene in drawn:
        write_blendedmvs(scene, tmp_path)
    read = read_scenes(str(tmp_path), count=1, **SHAPE)
    assert [scene.images.shape for scene in read] == [drawn[0].images.shape]


def test_scans_are_numbers_or_the_name_of_a_list() -> None:
    assert scan_list("1, 4,9") == (1, 4, 9)
    with pytest.raises(ValueError, match="scans='1,4,01'; each must stand once"):
        scan_list("1,4,01")
    assert len(scan_list("mvsnet_test")) == 22
    for unknown in ("dtu65", "1,4²"):
        with pytest.raises(ValueError, match=unknown):
            scan_list(unknown)


def test_lessons_are_of_rooms_and_of_the_world_in_the_shapes_of_photographs() -> None:
    lessons = lesson_scenes(count=7, views=2, size=56, seed=0, wide=True)
    scenes = [lessons[i] for i in range(len(lessons))]
    assert [one.name.split("-")[0] for one in scenes] == [
        *("synthetic", "world", "world"), *("synthetic", "world", "world"), "synthetic"
    ]  # fmt: skip
    assert [tuple(one.images.shape[::2]) for one in scenes[1:3]] == [(2, 42), (2, 56)]
    assert [tuple(one.images.shape) for one in scenes[4:6]] == [(2, 3, 56, 42), (4, 3, 42, 56)]
    assert all("-train-" in one.name for one in scenes)
    assert len({one.name + str(one.images.shape) for one in scenes}) == len(scenes)
    rooms = lesson_scenes(count=2, views=2, size=56, seed=0, wide=False)
    assert rooms[1].name == "synthetic-train-0-000001"
