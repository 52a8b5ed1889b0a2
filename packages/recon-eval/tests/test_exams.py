"""Exams: unseen scenes of both worlds, and the grades of what is answered."""

import math
from dataclasses import asdict, replace

import pytest
import torch

from recon_eval import Answer
from recon_eval.data import Scene
from recon_eval.exams import Exam, all_exams, constant_depth, markdown

SMALL = Exam(world="world", height=28, width=42, views=(2, 3), scenes=2)


def truth(scene: Scene) -> Answer:
    assert scene.depth is not None and scene.intrinsics is not None
    squeezed = scene.intrinsics * torch.tensor([1.0, 1.25, 1.0])[:, None]
    return Answer(depth=3 * scene.depth, world_to_camera=scene.world_to_camera, intrinsics=squeezed)


def test_exams_cover_both_worlds_and_shapes_that_are_not_square() -> None:
    exams = all_exams(8)
    assert {e.world for e in exams} == {"rooms", "world"}
    assert any(e.height != e.width for e in exams)
    assert max(max(e.views) for e in exams) == 32
    with pytest.raises(ValueError, match="known worlds: rooms, world"):
        replace(exams[0], world="moon")


def test_a_table_of_grades_leaves_empty_what_was_not_answered() -> None:
    grade = SMALL.grade("constant depth", SMALL.load(), constant_depth)
    head, _, row = markdown([asdict(grade)]).splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert head.count("|") == row.count("|")
    assert cells[:5] == [
        "constant depth",
        "world",
        "42 x 28",
        str(grade.views),
        f"{grade.abs_rel:.3f}",
    ]
    assert cells[6:] == [""] * 4


def test_the_truth_in_any_unit_has_no_error() -> None:
    loaded = SMALL.load()
    grades = list(SMALL.by_views("truth", loaded, truth))
    assert [grade.views for grade in grades] == [2, 3]
    for grade in grades:
        assert grade.abs_rel == pytest.approx(0, abs=1e-5)
        assert grade.auc30 == 1
        assert grade.aspect_error == pytest.approx(math.log(1.25), rel=1e-3)


def test_a_constant_depth_has_an_error_and_no_cameras() -> None:
    few = SMALL.few(SMALL.load())
    assert [scene.num_views for scene in few] == [3, 3]
    grade = SMALL.grade("wall", few, constant_depth)
    assert grade.abs_rel > 0.01
    assert grade.auc30 is None and grade.aspect_error is None


def test_validation_scenes_are_not_those_of_the_test() -> None:
    test, validation = (replace(SMALL, split=s).load()[0] for s in ("test", "validation"))
    assert not bool((test.images == validation.images).all())
