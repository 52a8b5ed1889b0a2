"""Keypoints, the pairs of photos that are matched, and the tracks that matches make."""

import numpy as np
import pytest
import torch
from PIL import Image

from recon_backbones.refine.grow import _pairs
from recon_backbones.refine.keypoints import find_keypoints
from recon_backbones.refine.matching import choose_pairs, match_pair
from recon_backbones.refine.tracks import Tracks, join_matches

from ..allocations import peak_allocated
from .rings import VIEWS, ring


def test_matches_chain_into_tracks_and_contradictions_are_left_out() -> None:
    keypoints = [torch.arange(6.0).double().reshape(3, 2) + 10 * k for k in range(3)]
    pairs = [
        (0, 1, torch.tensor([[0, 1], [1, 0]])),
        (1, 2, torch.tensor([[1, 2], [0, 0]])),
        (0, 2, torch.tensor([[1, 1]])),  # with the pairs above, two places of view 2
    ]
    tracks = join_matches(keypoints, pairs)
    assert len(tracks) == 1
    assert tracks.view.tolist() == [0, 1, 2]
    expected = torch.stack([keypoints[0][0], keypoints[1][1], keypoints[2][2]])
    assert torch.equal(tracks.xy, expected)
    assert len(join_matches(keypoints, [])) == 0


def test_few_views_are_all_paired_and_many_with_their_neighbors() -> None:
    cameras, _ = ring()
    assert len(choose_pairs(cameras.world_to_camera, 20)) == VIEWS * (VIEWS - 1) // 2
    many, _ = ring(views=30)
    pairs = choose_pairs(many.world_to_camera, 4)
    assert {(i, i + 1) for i in range(29)} <= set(pairs)
    assert len(pairs) < 30 * 29 // 4
    assert all(i < j for i, j in pairs)


def test_a_shifted_photo_matches_by_its_shift() -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8))
    wide = np.asarray(small.resize((480, 320), Image.Resampling.BICUBIC))
    one, other = find_keypoints(wide[:, :420]), find_keypoints(wide[:, 30:450], factor=2.0)
    rows = match_pair(one, other)
    assert len(rows) >= 20
    moved = one.xy[rows[:, 0]] - other.xy[rows[:, 1]] / 2
    torch.testing.assert_close(
        moved.median(0).values, torch.tensor([30.0, 0]).double(), atol=0.05, rtol=0
    )
    assert len(match_pair(one, find_keypoints(np.zeros((80, 80, 3), np.uint8)))) == 0


def test_pairs_that_share_most_are_found_without_a_table_of_views_and_points() -> None:
    views, points = 40, 10_000
    view = torch.stack(
        [torch.arange(points) % views, (torch.arange(points) * 7 + 1) % views], dim=1
    )
    tracks = Tracks(
        view=view.flatten(),
        point=torch.arange(points).repeat_interleave(2),
        xy=torch.zeros(2 * points, 2).double(),
        points=torch.zeros(points, 3).double(),
    )
    sees = torch.zeros(views, points)
    sees[tracks.view, tracks.point] = 1
    counts = (sees @ sees.T).triu(diagonal=1)
    found = list(_pairs(tracks, views))
    assert sorted(float(counts[pair]) for pair in found) == sorted(
        counts.flatten().topk(len(found)).values.tolist()
    )
    assert peak_allocated(lambda: list(_pairs(tracks, views))) < sees.nbytes


@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_keypoints_lie_where_blobs_are(factor: float) -> None:
    rng = np.random.default_rng(0)
    centers = np.mgrid[30:230:40, 30:310:40].reshape(2, -1).T + rng.uniform(0, 1, (35, 2))
    down, across = np.mgrid[:260, :340] + 0.5
    gray = np.full(down.shape, 40.0)
    for y, x in centers:
        gray += 180 * np.exp(-((across - x) ** 2 + (down - y) ** 2) / 2 / 2.5**2)
    image = np.repeat(gray.round().astype(np.uint8)[..., None], 3, axis=2)
    found = find_keypoints(image, factor=factor).xy.numpy() / factor
    off = found[:, None] - centers[:, ::-1]
    off = off[np.arange(len(found)), np.linalg.norm(off, axis=2).argmin(axis=1)]
    assert len(found) >= 35 and np.abs(np.median(off, axis=0)).max() < 0.02


def test_views_that_share_nothing_with_the_others_are_left_as_they_are() -> None:
    """Two parts have a unit each, which no photo tells; the larger is refined."""
    links = [(0, 1), (1, 4), (4, 5), (2, 3)]  # views that share 5 points
    seen = [(view, 5 * n + i) for n, pair in enumerate(links) for i in range(5) for view in pair]
    seen = sorted([*seen, (2, 20), (5, 20)], key=lambda one: one[1])  # a wrong match joins no parts
    view, point = torch.tensor(seen).T
    tracks = Tracks(
        view=view,
        point=point,
        xy=torch.zeros(len(seen), 2, dtype=torch.float64),
        points=torch.zeros(21, 3, dtype=torch.float64),
    )
    assert tracks.joined(7, 5).tolist() == [True, True, False, False, True, True, False]
    assert tracks.joined(7, 1).tolist() == [True] * 6 + [False]
    assert int(tracks.joined(7, 6).sum()) == 1
    assert tracks.shared(7)[1, 4] == 5
