"""Recipes come back from JSON and text, also older ones; those that cannot run are refused."""

from dataclasses import replace
from typing import Any

import pytest

from lite3r.student.recipes import NAMED, Recipe, by_name, paper, tiles

from .drawn import tiled


def test_recipes_survive_json() -> None:
    for recipe in map(by_name, NAMED):
        assert Recipe.from_dict(recipe.to_dict()) == recipe
    with pytest.raises(ValueError, match=r"unknown \['new'\] and missing \['keep'\]"):
        Recipe.from_dict({k: v for k, v in Recipe().to_dict().items() if k != "keep"} | {"new": 1})


def test_students_from_before_orders_load() -> None:
    """Their recipes have no order, no summary and no axes: they keep tiles as they come."""
    new = ("order", "summary", "opened", "axes", "offsets")
    old = {k: v for k, v in tiles().to_dict().items() if k not in new}
    assert Recipe.from_dict(old) == replace(tiles(), opened=24, axes=8, offsets=False)


def test_students_from_before_more_was_stored_keep_as_little_as_fp8() -> None:
    old = {k: v for k, v in Recipe().to_dict().items() if k != "fp8_stored"}
    assert Recipe.from_dict(old) == replace(Recipe(), fp8_stored=())


def test_students_from_before_roundings_suited_anything_keep_the_nearest() -> None:
    old = {k: v for k, v in Recipe().to_dict().items() if k != "rounding"}
    assert Recipe.from_dict(old) == replace(Recipe(), rounding="nearest")


@pytest.mark.parametrize("block", [(3, 3), (16, 24), (8, 16), (16, 512)])
def test_a_recipe_that_cannot_run_is_refused_when_made(block: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"block=\(.*powers of two from 16 to 256"):
        tiled(block=block)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"keep": 0}, "keep=0; "),
        ({"keep": 1.5}, "keep=1.5; "),
        ({"keep": ()}, r"keep=\(\); "),
        ({"keep": (8, 0)}, "keep=0; "),
        ({"block": (64, 8)}, r"block=\(64, 8\); the smallest cells must be"),
        ({"summary": (4, 6)}, r"summary=\(4, 6\); "),
        ({"opened": 0}, "opened=0; "),
        ({"linear": "complement"}, "complement"),
        ({"estimator": "subblock_lse"}, "estimator='subblock_lse'"),
        ({"trainable": "proj"}, "trainable='proj' with linear='none'; "),
    ],
)
def test_a_content_order_that_cannot_run_is_refused_when_made(
    changes: dict[str, Any], part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        replace(Recipe(), **changes)


def test_recipes_change_field_by_field_from_text() -> None:
    made = paper().changed({"keep": "0.1", "block": "32,64", "linear": "complement"})
    assert (made.keep, made.block, made.linear, made.scope) == (0.1, (32, 64), "complement", "both")
    assert paper().changed({"fp8_exclude": "*.fc1,*.fc2"}).fp8_exclude == ("*.fc1", "*.fc2")
    balanced = Recipe().changed({"keep": "16", "summary": "4,32", "opened": "12"})
    assert (balanced.keep, balanced.summary, balanced.opened) == (16, (4, 32), 12)
    assert Recipe().changed({"keep": "16, 8,4"}).keep == (16, 8, 4)
    assert tiles().changed({"summary": "", "keep": "1.0"}).summary == ()
    for changes, part in (
        ({"kept": "1"}, "a recipe has: keep"),
        ({"keep": "much"}, "keep=much"),
        ({"keep": "8,0.5"}, "keep=8,0.5"),
        ({"linear": "some"}, "linear='some'"),
        ({"order": "sorted"}, "order='sorted'; it must be known: "),
    ):
        with pytest.raises(ValueError, match=part):
            Recipe().changed(changes)
