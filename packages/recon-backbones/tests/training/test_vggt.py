"""VGGT in training: what it is asked for, and what it begins with."""

from pathlib import Path

import pytest
import torch

from recon_backbones import load_backbone
from recon_backbones.geometry.cameras import decode_pose, encode_pose, invert_rigid
from recon_backbones.training import Schedule, Targets, make_targets
from recon_backbones.training.begin import begin
from recon_backbones.training.loop import Run, make_pupil
from recon_backbones.training.pupils.tracks import Followed, followed, track_terms
from recon_backbones.training.pupils.vggt import inverted, points_term
from recon_backbones.training.targets import world_points
from recon_backbones.vggt.tracker import Tracks

from .plain import Plain


def steps(depth: torch.Tensor | None = None, *, rise: float = 0.0) -> Targets:
    """A wall at z = 2, seen by a camera that goes to its right, and up by `rise` in its second."""
    if depth is None:
        depth = torch.full((1, 3, 56, 84), 2.0)
    cameras = torch.eye(4)[:3].repeat(1, 3, 1, 1)
    cameras[0, 1, 0, 3], cameras[0, 2, 0, 3], cameras[0, 1, 1, 3] = -0.2, -9.0, rise
    lens = torch.tensor([[60.0, 0, 42], [0, 60.0, 28], [0, 0, 1]]).expand(1, 3, 3, 3)
    return make_targets(depth, cameras, lens, torch.ones_like(depth, dtype=torch.bool))


def test_an_inverted_encoding_is_that_of_the_inverse() -> None:
    turn = torch.linalg.qr(torch.randn(2, 3, 3, 3)).Q
    turn = turn * torch.linalg.det(turn)[..., None, None]
    transform = torch.cat((turn, torch.randn(2, 3, 3, 1)), dim=-1)
    lens = torch.tensor([[60.0, 0, 42], [0, 50.0, 28], [0, 0, 1]]).expand(2, 3, 3, 3)
    found, intrinsics = decode_pose(inverted(encode_pose(transform, lens, (56, 84))), (56, 84))
    torch.testing.assert_close(found, invert_rigid(transform), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(intrinsics, lens, atol=1e-3, rtol=1e-4)


def test_points_are_where_the_first_view_has_them() -> None:
    targets = steps()
    points = world_points(targets)
    torch.testing.assert_close(points[..., 2], targets.depth)
    sure = torch.ones_like(targets.depth)
    assert float(points_term(points, sure, targets)) == 0
    assert float(points_term(points + 0.1, sure, targets)) > 0.01


def test_places_are_followed_to_where_each_view_sees_them() -> None:
    goal = followed(steps())
    first, second = goal.at[0, :2]
    torch.testing.assert_close(first, first.round(), atol=1e-4, rtol=0)
    shift = torch.tensor([60 * 0.2 / 2, 0.0])  # pixels
    torch.testing.assert_close(second, first - shift, atol=1e-3, rtol=1e-4)
    inside = (second >= -0.5).all(-1)
    assert torch.equal(goal.inside[0, 1], inside) and 0 < int(inside.sum()) < len(inside)
    assert torch.equal(goal.seen, goal.inside) and not goal.inside[0, 2].any()
    assert torch.equal(goal.at, followed(steps()).at)


def test_a_place_below_the_picture_is_outside() -> None:
    goal = followed(steps(rise=0.5))
    second = goal.at[0, 1]
    inside = ((second >= -0.5) & (second < torch.tensor([83.5, 55.5]))).all(-1)
    assert torch.equal(goal.inside[0, 1], inside)
    assert ((second[:, 1] > 55.5) & (second[:, 1] < 83.5)).any()


def test_a_place_behind_something_is_in_the_picture_and_not_seen() -> None:
    depth = torch.full((1, 3, 56, 84), 2.0)
    depth[:, 1] = 1.0
    goal = followed(steps(depth))
    assert goal.inside[0, 1].any() and not goal.seen[0, 1].any() and goal.seen[0, 0].all()


def test_tracks_that_are_true_cost_nothing() -> None:
    goal = followed(steps())
    sure = goal.seen.float()
    near = goal.inside.float()
    exact = track_terms(Tracks([goal.at, goal.at], sure, near), goal)
    assert float(exact["tracks"]) == 0 and float(exact["visible"]) < 1e-4
    off = track_terms(Tracks([goal.at, goal.at + 7.0], sure, near), goal)
    assert float(off["tracks"]) == pytest.approx(1 / 1.8)  # half a patch each way, in the last pass
    assert float(off["visible"]) > 1


def test_a_single_view_has_nothing_to_follow() -> None:
    goal = followed(steps())
    alone = Followed(at=goal.at[:, :1], seen=goal.seen[:, :1], inside=goal.inside[:, :1])
    terms = track_terms(Tracks([alone.at], alone.seen.float(), alone.seen.float()), alone)
    assert [float(term) for term in terms.values()] == [0, 0]


def test_camera_head_and_tracker_stay_exact(tmp_path: Path) -> None:
    run = Run(folder=tmp_path, schedule=Schedule(steps=1), backbone="vggt-tiny", start="random")
    pupil, _ = make_pupil(run, Plain)
    exact = {n for n, p in pupil.named_parameters() if p.dtype == torch.float32}
    parts = {n.split(".")[1] for n in exact}
    assert parts == {"camera_head", "track_head"}
    assert not any("feature_extractor" in n for n in exact)


@torch.no_grad()
def test_it_begins_with_what_a_network_of_the_other_family_knows() -> None:
    teacher = load_backbone("da3-tiny", weights="bundled")
    made, drawn = (begin("vggt-tiny", start, seed=0) for start in ("da3-tiny", "random"))
    ours = made.get_submodule("aggregator.frame_blocks.1")
    theirs = teacher.get_submodule("model.backbone.pretrained.blocks.4")
    for name, value in ours.named_parameters():
        assert torch.equal(value, theirs.get_parameter(name)), name
    images = torch.rand(1, 2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    goal = teacher(images).depth.log().flatten()
    near, far = (
        torch.corrcoef(torch.stack((b(images).depth.log().flatten(), goal)))[0, 1]
        for b in (made, drawn)
    )
    assert float(near) > 0.7 > 0.4 > abs(float(far))


@pytest.mark.parametrize(
    ("name", "start", "said"),
    [
        ("da3-tiny", "da3-tiny", "start='da3-tiny'; a VGGT begins with"),
        ("vggt-tiny", "vggt-1b", "no bundled weights"),
        ("vggt-tiny", "da3-small", "no bundled weights"),
    ],
)
def test_what_does_not_fit_is_no_beginning(name: str, start: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        begin(name, start, seed=0)
