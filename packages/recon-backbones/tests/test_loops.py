"""A sequence that comes back to its beginning ends where it began."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recon_backbones import Prediction
from recon_backbones.chain.graph import Edge, settle
from recon_backbones.geometry.cameras import first_is_origin
from recon_backbones.geometry.similarity import (
    SimilarityMap,
    similarity_exp,
    similarity_log,
)
from recon_backbones.refine.model import rotation_of
from recon_backbones.views.windows import predict_windows, windows

from .rooms import Room, room

VIEWS, WINDOW, OVERLAP = 40, 8, 3


def logarithms(seed: int, count: int, size: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(count, 7, generator=generator, dtype=torch.float64)


@given(seed=st.integers(0, 1000), size=st.floats(1e-6, 0.8))
def test_logarithm_and_exponential_undo_each_other(seed: int, size: float) -> None:
    some = logarithms(seed, 5, size)
    turn = some[:, 3:6].norm(dim=1, keepdim=True)
    some[:, 3:6] *= (3.0 / turn).clamp(max=1)  # by less than 180 degrees
    torch.testing.assert_close(similarity_log(similarity_exp(some)), some, rtol=1e-6, atol=1e-9)
    zero = torch.zeros(1, 7, dtype=torch.float64)
    torch.testing.assert_close(similarity_log(similarity_exp(zero)), zero)


@given(seed=st.integers(0, 1000))
def test_similarities_compose_as_their_matrices_do(seed: int) -> None:
    one, other = (SimilarityMap.of(m) for m in similarity_exp(logarithms(seed, 2, 0.5)))
    torch.testing.assert_close((one @ other).matrix, one.matrix @ other.matrix)
    torch.testing.assert_close((one @ one.inverse).matrix, torch.eye(4).double())
    points = logarithms(seed, 6, 1.0)[:, :3]
    torch.testing.assert_close((one @ other).apply(points), one.apply(other.apply(points)))


@settings(max_examples=5)
@given(seed=st.integers(0, 100))
def test_places_that_fit_all_edges_are_found_from_a_drifted_start(seed: int) -> None:
    truth = [SimilarityMap.of(m) for m in similarity_exp(logarithms(seed, 5, 0.4))]
    truth = [truth[0].inverse @ place for place in truth]
    pairs = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (1, 3)]
    edges = [Edge(first=i, second=j, similarity=truth[i].inverse @ truth[j]) for i, j in pairs]
    off = similarity_exp(logarithms(seed + 1, 5, 0.1))
    start = [
        truth[0],
        *(SimilarityMap.of(p.matrix @ o) for p, o in zip(truth[1:], off, strict=False)),
    ]
    for found, place in zip(settle(start, edges), truth, strict=True):
        torch.testing.assert_close(found.matrix, place.matrix, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def ring() -> Room:
    """Away along an arc and back again: the last views are taken where the first were."""
    there = room(VIEWS // 2, 120, 160, finest=6.0)
    order = [*range(VIEWS // 2), *reversed(range(VIEWS // 2))]
    return replace(
        there,
        images=there.images[order],
        depth=there.depth[order],
        world_to_camera=there.world_to_camera[order],
        intrinsics=there.intrinsics[order],
    )


def drifting(scene: Room, cameras: Tensor) -> Callable[[Sequence[int]], Prediction]:
    """The truth, bent: each view is turned, and depth grows, more with each view of a pass."""

    def predict(part: Sequence[int]) -> Prediction:
        chosen = list(part)
        poses = first_is_origin(cameras[chosen].double())
        near = [0, *torch.tensor(chosen).diff().abs().eq(1).long().cumsum(0).tolist()]
        steps = torch.tensor(near).double()
        turn = rotation_of(torch.stack([0 * steps, 0.004 * steps, 0 * steps], dim=1))
        growth = (0.01 * steps).exp()
        poses = torch.cat([turn @ poses[:, :, :3], turn @ poses[:, :, 3:]], dim=2)
        depth = scene.depth[chosen].double() * growth[:, None, None]
        return Prediction(
            depth=depth[None],
            depth_conf=torch.ones_like(depth)[None],
            world_to_camera=poses[None],
            intrinsics=scene.intrinsics[chosen].double()[None],
        )

    return predict


def seam(prediction: Prediction) -> tuple[float, float]:
    """By how much the last view, which is the first again, is turned, and its depth is larger."""
    turn = prediction.world_to_camera[0, -1, :, :3] @ prediction.world_to_camera[0, 0, :, :3].T
    degrees = torch.rad2deg(((turn.trace() - 1) / 2).clamp(-1, 1).arccos())
    ratio = float((prediction.depth[0, -1] / prediction.depth[0, 0]).log().median())
    return float(degrees), abs(ratio)


def test_drift_at_the_seam_of_a_loop_is_at_least_five_times_less(ring: Room) -> None:
    parts = windows(VIEWS, WINDOW, OVERLAP)
    predict = drifting(ring, ring.world_to_camera)
    open_, closed = (
        predict_windows(predict, parts, images=images) for images in (None, ring.images)
    )
    assert not open_.loops
    assert any(loop.closed for loop in closed.loops)
    for before, after in zip(seam(open_.prediction), seam(closed.prediction), strict=True):
        assert before > 0.02
        assert after < before / 5


def test_a_sequence_without_drift_stays_as_it_is(ring: Room) -> None:
    def predict(part: Sequence[int]) -> Prediction:
        chosen = list(part)
        return Prediction(
            depth=ring.depth[chosen].double()[None],
            depth_conf=torch.ones_like(ring.depth[chosen]).double()[None],
            world_to_camera=first_is_origin(ring.world_to_camera[chosen].double())[None],
            intrinsics=ring.intrinsics[chosen].double()[None],
        )

    parts = windows(VIEWS, WINDOW, OVERLAP)
    found = predict_windows(predict, parts, images=ring.images).prediction
    truth = first_is_origin(ring.world_to_camera.double())
    torch.testing.assert_close(found.world_to_camera[0], truth, rtol=0, atol=1e-4)


def test_places_that_only_look_alike_are_not_closed(ring: Room) -> None:
    """The same pictures again, a hundred meters away: the pass over both sees two places."""
    cameras = ring.world_to_camera.clone()
    away = torch.tensor([100.0, 0, 0])
    cameras[VIEWS // 2 :, :, 3] -= (cameras[VIEWS // 2 :, :, :3] @ away[:, None])[..., 0]
    parts = windows(VIEWS, WINDOW, OVERLAP)
    predict = drifting(ring, cameras)
    found = predict_windows(predict, parts, images=ring.images)
    assert found.loops
    assert not any(loop.closed for loop in found.loops)
    assert "lies apart" in found.loops[0].describe()
    without = predict_windows(predict, parts)
    assert torch.equal(found.prediction.world_to_camera, without.prediction.world_to_camera)


def test_what_shows_nothing_twice_is_not_searched_further() -> None:
    scene = room(12, 42, 56)
    calls = []

    def predict(part: Sequence[int]) -> Prediction:
        calls.append(list(part))
        return drifting(scene, scene.world_to_camera)(part)

    found = predict_windows(predict, windows(12, 4, 1), images=torch.zeros_like(scene.images))
    assert found.loops == ()
    assert len(calls) == math.ceil((12 - 4) / 3) + 1
