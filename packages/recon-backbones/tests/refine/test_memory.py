"""Refining takes the memory that is asked for, and is refused where it is not there."""

import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from recon_backbones import InputError, Reconstruction, Refinement, refine_cameras
from recon_backbones.refine import run as run_module
from recon_backbones.refine.bundle import A_PAIR, Loss, adjust
from recon_backbones.refine.keypoints import Keypoints, find_keypoints
from recon_backbones.refine.solve import solve

from ..allocations import peak_allocated
from .rings import noisy, ring, views_of


def test_adjusting_cameras_takes_the_memory_that_is_asked_for() -> None:
    """Of many views that share few points each, so that pairs of views are what counts."""
    cameras, tracks = ring(views=100, points=300)
    few = (tracks.view + tracks.point) % 25 == 0
    tracks = tracks.of(few)
    views = views_of(cameras, "each")
    loss = Loss(scale=views.pixel)
    start = noisy(cameras, 1e-3)
    taken = peak_allocated(lambda: adjust(start, tracks, loss, views.lenses(), steps=1))
    assert 0.8 * A_PAIR * 100**2 < taken < A_PAIR * 100**2


def test_what_is_seen_takes_little_memory_however_often_it_is_seen() -> None:
    """Of few views that share many points: most of what an observation needs is passing."""
    cameras, tracks = ring(views=6, points=40_000)
    views = views_of(cameras, "each")
    loss, start = Loss(scale=views.pixel), noisy(cameras, 1e-3)
    taken = peak_allocated(lambda: adjust(start, tracks, loss, views.lenses(), steps=1))
    assert taken < 900 * len(tracks.view)


def test_cameras_that_memory_does_not_hold_are_refused_before_photos_are_read(
    scene: tuple[Reconstruction, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = scene
    monkeypatch.setattr("recon_backbones.refine.run.available", lambda _: A_PAIR * 4**2 - 1)
    with pytest.raises(InputError, match=r"refine with 4 photos; .* are free: leave refine out"):
        refine_cameras(replace(made, root=Path("nowhere")))


def test_keypoints_are_gone_while_cameras_are_adjusted(
    scene: tuple[Reconstruction, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def find(*args: Any, **options: Any) -> Keypoints:
        found = find_keypoints(*args, **options)
        held.append(weakref.ref(found.descriptors))
        return found

    def solved(*args: Any) -> Any:
        alive.append(sum(descriptors() is not None for descriptors in held))
        return solve(*args)

    monkeypatch.setattr(run_module, "find_keypoints", find)
    monkeypatch.setattr(run_module, "solve", solved)
    refine_cameras(scene[0], Refinement(size=240))
    assert len(held) == 4 and alive == [0]
