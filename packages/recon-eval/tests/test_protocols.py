"""Protocols measure what their columns show, and scenes are drawn or read by one name."""

from dataclasses import replace
from pathlib import Path

import pytest

from recon_eval import PROTOCOLS, Answer, Protocol, evaluate, means
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


def test_a_figure_without_truth_is_unknown() -> None:
    scenes = [replace(one, depth=None) for one in drawn_scenes("test", count=1, **SHAPE)]

    def guess(scene: Scene) -> Answer:
        return replace(truth(drawn_scenes("test", count=1, **SHAPE)[0]))

    found = means(evaluate(guess, scenes, model="it", dataset="synthetic"))
    assert found["abs_rel"] is None
    assert found["auc30"] == 1


def test_more_views_than_a_room_has_are_of_the_world() -> None:
    def one(views: int) -> Scene:
        return drawn_scenes("test", count=1, views=views, size=28, seed=0)[0]

    assert (one(2).name, one(17).name) == ("synthetic-test-0-000000", "world-test-0-000000")
    assert one(17).num_views == 17


def test_scenes_are_drawn_or_read_from_a_folder(tmp_path: Path) -> None:
    drawn = read_scenes("synthetic", count=2, **SHAPE)
    assert [scene.num_views for scene in drawn] == [3, 3]
    for scene in drawn:
        write_blendedmvs(scene, tmp_path)
    read = read_scenes(str(tmp_path), count=1, **SHAPE)
    assert [scene.images.shape for scene in read] == [drawn[0].images.shape]


def test_scans_are_numbers_or_the_name_of_a_list() -> None:
    assert scan_list("1, 4,9") == (1, 4, 9)
    assert len(scan_list("mvsnet_test")) == 22
    with pytest.raises(ValueError, match="dtu65"):
        scan_list("dtu65")


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
