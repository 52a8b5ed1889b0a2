"""Windows joined by what they share give the scene that one pass gives."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from recon_backbones import Prediction, load_backbone, umeyama
from recon_backbones.chain.join import join, views_of
from recon_backbones.geometry.similarity import SimilarityMap, camera_centers
from recon_backbones.views.windows import predict_windows, windows

from .rooms import Room, room

VIEWS = 16


@pytest.fixture(scope="module")
def scene() -> Room:
    return room(VIEWS, 42, 56)


def random_similarity(rng: np.random.Generator) -> SimilarityMap:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return SimilarityMap(
        scale=float(np.exp(rng.uniform(-2, 2))),
        rotation=torch.from_numpy(q * np.linalg.det(q)),
        translation=torch.from_numpy(rng.normal(size=3) * 5),
    )


def oracle(
    scene: Room, seed: int, cameras: Tensor | None = None, noise: float = 0.0
) -> Callable[[range], Prediction]:
    """Answers with the truth, each time in another frame and unit, as a network does."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    truth = (scene.world_to_camera if cameras is None else cameras).double()
    depth, intrinsics = scene.depth.double(), scene.intrinsics

    def predict(part: range) -> Prediction:
        moved, chosen = random_similarity(rng), list(part)
        wrong = torch.randn(len(chosen), 1, 1, generator=generator).mul(noise).exp()
        return Prediction(
            depth=(depth[chosen] * moved.scale * wrong)[None],
            depth_conf=torch.ones(1, *depth[chosen].shape, dtype=torch.float64),
            world_to_camera=moved.apply_to_cameras(truth[chosen])[None],
            intrinsics=intrinsics[chosen][None].double(),
        )

    return predict


def relative_degrees(one: Prediction, other: Prediction) -> Tensor:
    """Of all pairs of cameras, by how much the turn between the two differs."""
    turns = [p.world_to_camera[0, :, :, :3].double() for p in (one, other)]
    between = [torch.einsum("iab,jcb->ijac", r, r) for r in turns]
    trace = torch.einsum("ijab,ijab->ij", *between)
    angles = torch.rad2deg(((trace - 1) / 2).clamp(-1, 1).arccos())
    return angles[torch.triu(torch.ones_like(angles), diagonal=1) > 0]


def disagreement(found: Tensor, truth: Tensor) -> tuple[float, float]:
    """Largest rotation in degrees, and largest distance of a center over the rig's extent."""
    fit = umeyama(camera_centers(found), camera_centers(truth))
    aligned = SimilarityMap(
        scale=float(fit.scale), rotation=fit.rotation, translation=fit.translation
    ).apply_to_cameras(found)
    chord = (aligned[:, :, :3] - truth[:, :, :3]).flatten(1).norm(dim=1) / 8**0.5
    one, other = camera_centers(aligned), camera_centers(truth)
    extent = (other - other.mean(0)).norm(dim=1).max()
    apart = (one - other).norm(dim=1).max() / extent
    return float(torch.rad2deg(2 * torch.arcsin(chord)).max()), float(apart)


@pytest.mark.parametrize("rows", [30, 42])
def test_sky_says_nothing_of_the_scale_between_windows(scene: Room, rows: int) -> None:
    predict, sky = oracle(scene, seed=4), torch.zeros(1, 4, 42, 56)
    sky[:, :, :rows] = 1.0
    far = {0: 3.0, 1: 200.0}  # what each window takes for its farthest

    def skied(window: int) -> Prediction:
        seen = predict(range(4))
        depth = torch.where((sky > 0) & (rows < 42), far[window] * seen.depth.max(), seen.depth)
        return replace(seen, depth=depth, sky=sky)

    one, other = skied(0), skied(1)
    found, below = join(one, other, 0), slice(-1, None)
    expected = one.depth[0, 0, below, 0] / other.depth[0, 0, below, 0]
    assert found.similarity.scale == pytest.approx(float(expected))


@given(views=st.integers(1, 60), window=st.integers(2, 20), data=st.data())
def test_windows_cover_every_view_and_share_enough(
    views: int, window: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(1, window - 1))
    parts = windows(views, window, overlap)
    assert sorted({view for part in parts for view in part}) == list(range(views))
    assert all(len(part) == min(window, views) for part in parts)
    assert all(len(set(a) & set(b)) >= overlap for a, b in pairwise(parts))


@pytest.mark.parametrize("overlap", [0, 4])
def test_windows_that_share_nothing_or_everything_are_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match=f"overlap={overlap}"):
        windows(9, 4, overlap)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), window=st.integers(3, 8), overlap=st.integers(1, 2))
def test_true_windows_in_any_frame_join_to_the_true_scene(
    scene: Room, seed: int, window: int, overlap: int
) -> None:
    """One shared view is enough where depths are exact."""
    found = predict_windows(oracle(scene, seed), windows(VIEWS, window, overlap)).prediction
    degrees, apart = disagreement(found.world_to_camera[0], scene.world_to_camera)
    assert degrees < 1e-3
    assert apart < 1e-4
    ratio = found.depth[0] / scene.depth
    ratio = ratio[scene.depth > 0]
    assert float(ratio.max() / ratio.min()) < 1 + 1e-4


@pytest.mark.parametrize("place", ["line", "point"])
def test_cameras_on_a_line_or_in_one_place_are_joined_as_well(scene: Room, place: str) -> None:
    """There, an alignment of centers has no rotation, or no scale."""
    along = torch.linspace(0, 3 if place == "line" else 0, VIEWS).double()
    rotation = scene.world_to_camera[:, :, :3].double()
    centers = torch.stack([along, 0 * along, 0 * along], dim=1)
    cameras = torch.cat([rotation, -rotation @ centers[..., None]], dim=2)
    found = predict_windows(oracle(scene, 3, cameras), windows(VIEWS, 5, 2)).prediction
    relative = found.world_to_camera[0, :, :, :3] @ found.world_to_camera[0, 0, :, :3].T
    torch.testing.assert_close(relative, rotation @ rotation[0].T, atol=1e-5, rtol=0)
    spread = camera_centers(found.world_to_camera[0])
    spread = (spread - spread[0]).norm(dim=1)
    if place == "point":
        assert float(spread.max()) < 1e-4 * float(found.depth.max())
    else:
        torch.testing.assert_close(spread / spread[-1], along / along[-1], atol=1e-4, rtol=0)


def test_noise_of_single_views_stays_small_and_is_noticed(scene: Room) -> None:
    noisy = predict_windows(oracle(scene, 0, noise=0.02), windows(VIEWS, 8, 4))
    degrees, apart = disagreement(noisy.prediction.world_to_camera[0], scene.world_to_camera)
    assert degrees < 0.5
    assert apart < 0.05
    assert not any(join.weak for join in noisy.joins)
    broken = predict_windows(oracle(scene, 0, noise=0.5), windows(VIEWS, 8, 4))
    assert any(join.weak for join in broken.joins)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), shared=st.integers(1, 6))
def test_joining_favors_neither_side(scene: Room, seed: int, shared: int) -> None:
    """The way there and the way back are inverse, so that errors cancel along a chain."""
    answers = [oracle(scene, seed + side, noise=0.1)(range(shared)) for side in (0, 1)]
    there, back = (join(*pair, 0).similarity for pair in (answers, answers[::-1]))
    assert there.scale * back.scale == pytest.approx(1, rel=1e-6)
    one, other = (camera_centers(a.world_to_camera[0]) for a in answers)
    moved = there.apply(other) - one
    extent = (one - one.mean(0)).norm(dim=1).max().clamp_min(1)
    assert (moved.quantile(0.5, dim=0) / extent).abs().max() < 1e-6


def test_given_cameras_stay_and_only_depths_are_matched(scene: Room) -> None:
    free = oracle(scene, 5)

    def posed(part: range) -> Prediction:
        answer = free(part)
        given = scene.world_to_camera[list(part)][None].double()
        return Prediction(
            depth=answer.depth,
            depth_conf=answer.depth_conf,
            world_to_camera=given,
            intrinsics=answer.intrinsics,
        )

    found = predict_windows(posed, windows(VIEWS, 6, 2), given_cameras=True).prediction
    torch.testing.assert_close(found.world_to_camera[0], scene.world_to_camera.double())
    ratio = (found.depth[0] / scene.depth)[scene.depth > 0]
    assert float(ratio.max() / ratio.min()) < 1 + 1e-4


def test_windows_of_the_bundled_network_agree_with_its_single_pass() -> None:
    """Both are guesses; stitching must not cost more than the guess itself is wrong.

    Tolerance: of all pairs of cameras, the median rotation differs by less than 10 degrees.
    """
    scene = room(12, 84, 84)
    backbone = load_backbone("da3-tiny", weights="bundled")

    def predict(part: range) -> Prediction:
        with torch.inference_mode():
            return backbone(scene.images[list(part)][None])

    whole = predict(range(12))
    stitched = predict_windows(predict, windows(12, 8, 4)).prediction
    assert stitched.depth.shape == whole.depth.shape
    assert float(relative_degrees(stitched, whole).median()) < 10
    ratio = (stitched.depth / whole.depth).log()
    ratio = ratio - ratio.median()
    assert float(ratio.abs().median()) < 0.1


def test_windows_are_joined_in_one_copy(scene: Room) -> None:
    """Of many windows too: each join by itself copied all that was joined before."""
    long, copied = 40, []
    depth = scene.depth[:1].expand(long, -1, -1)[None]
    still = Prediction(
        depth=depth,
        depth_conf=torch.ones_like(depth),
        world_to_camera=torch.eye(3, 4).expand(1, long, 3, 4),
        intrinsics=torch.eye(3).expand(1, long, 3, 3),
    )

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            copied.append(out.numel() if "cat" in str(func) else 0)
            return out

    with Copies():
        found = predict_windows(
            lambda part: views_of(still, part[0], part[-1] + 1), windows(long, 2, 1)
        ).prediction
    assert torch.equal(found.depth, depth)
    assert sum(copied) < 2.5 * depth.numel()
