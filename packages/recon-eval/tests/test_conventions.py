"""Published definitions: their flaws, as measured, beside what they should have said."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from recon_eval import Report, conventions, points, pose
from recon_eval.conventions import lite3r
from recon_eval.data import Scene, SyntheticScenes


def rig(seed: int, views: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    rotation = torch.from_numpy(Rotation.random(views, random_state=seed).as_matrix())
    return torch.cat([rotation, torch.from_numpy(rng.normal(size=(views, 3, 1)))], dim=-1)


def disturbed(cameras: torch.Tensor, seed: int, degrees: float, shift: float) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * rng.normal(size=(len(cameras), 3)))
    moved = torch.from_numpy(turn.as_matrix()) @ cameras
    moved[:, :, 3] += shift * torch.from_numpy(rng.normal(size=(len(cameras), 3)))
    return moved


def test_lite3r_halves_the_rotation_error_of_a_pair() -> None:
    target = rig(0, 2)
    predicted = disturbed(target, 1, 3, 0)
    true = pose.evaluate(predicted, target).rotation_mean_degrees
    published = lite3r.evaluate_pose(predicted, target).values["rot_err_deg"]
    assert published == pytest.approx(true / 2)


def test_lite3r_forgives_a_camera_on_the_wrong_side() -> None:
    target = torch.eye(3, 4, dtype=torch.float64).repeat(2, 1, 1)
    target[1, 0, 3] = 1
    predicted = target.clone()
    predicted[1, 0, 3] = -1
    found = lite3r.evaluate_pose(predicted, target)
    assert found.values["trans_err"] == pytest.approx(0)
    assert found.facts["scale"] == pytest.approx(-1)
    assert pose.evaluate(predicted, target).direction_mean_degrees == pytest.approx(180)


def test_lite3r_translation_error_equals_its_formula() -> None:
    predicted, target = rig(1, 4), rig(2, 4)
    row = torch.tensor([[[0.0, 0, 0, 1]]], dtype=torch.float64).expand(4, 1, 4)
    p, g = (torch.cat([c, row], dim=1) for c in (predicted, target))
    tp, tg = ((e @ torch.linalg.inv(e[0]))[:, :3, 3] for e in (p, g))
    scale = (tp * tg).sum() / (tp * tp).sum()
    wanted = float((scale * tp - tg).norm(dim=-1).mean())
    assert lite3r.evaluate_pose(predicted, target).values["trans_err"] == pytest.approx(wanted)


def test_lite3r_depth_is_a_mean_over_all_pixels_after_one_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    g = torch.rand(2, 10, 12, generator=generator) + 1
    d = 3 * g * torch.exp(0.6 * torch.randn(2, 10, 12, generator=generator))
    valid = torch.rand(2, 10, 12, generator=generator) > 0.2
    found = lite3r.evaluate_depth(d, g, valid).values
    p, t = d[valid].double(), g[valid].double()
    p = p * (p * t).sum() / (p * p).sum()
    assert found["abs_rel"] == pytest.approx(float(((p - t).abs() / t).mean()))
    assert found["rmse"] == pytest.approx(float(((p - t) ** 2).mean().sqrt()))
    ratio = torch.maximum(p / t, t / p)
    for k in (1, 2, 3):
        assert found[f"delta{k}"] == pytest.approx(float((ratio < 1.25**k).double().mean()))
    assert 0 < found["delta1"] < found["delta2"] < found["delta3"] < 1
    few = torch.zeros_like(valid)
    few[0, 0] = True
    assert np.isnan(lite3r.evaluate_depth(d, g, few).values["abs_rel"])


def test_lite3r_geometry_sees_scale_where_the_shape_is_perfect() -> None:
    cloud = torch.rand(2000, 3, dtype=torch.float64)
    found = lite3r.evaluate_geometry(2 * cloud, cloud)
    assert found.values["fscore"] < 0.5
    assert found.values["chamfer"] == pytest.approx(
        points.chamfer(2 * cloud, cloud, variant="half_sum_of_squares")
    )
    large = torch.rand(60_000, 3)
    one, again, other = (lite3r.evaluate_geometry(large, large, seed=s) for s in (0, 0, 1))
    assert one == again
    assert one.values["chamfer"] != other.values["chamfer"]
    assert one.facts["predicted_points"] == 50_000


def test_lite3r_divides_lengths_by_what_the_drawn_views_happen_to_hold() -> None:
    cameras = torch.eye(3, 4).repeat(3, 1, 1)
    cameras[:, 2, 3] = torch.tensor([1.0, 3.0, 8.0])
    depth = torch.full((3, 2, 2), 4.0)
    scene = Scene(
        name="s",
        images=torch.zeros(3, 3, 2, 2),
        depth=depth,
        valid=depth > 0,
        world_to_camera=cameras,
    )

    def unit(views: list[int]) -> float:
        made = lite3r.normalize(scene.select(views))
        assert made.depth is not None and made.world_to_camera is not None
        assert torch.equal(made.world_to_camera[:, :, :3], cameras[views][:, :, :3])
        factor = float(made.depth[0, 0, 0]) / 4
        shifts = cameras[views][:, :, 3] * factor
        assert torch.allclose(made.world_to_camera[:, :, 3], shifts)
        return 1 / factor

    assert [unit(views) for views in ([0, 1], [1, 2], [0, 1, 2])] == pytest.approx([4, 8, 8])
    moved = replace(scene, world_to_camera=cameras + torch.tensor([0, 0, 0, 100.0]))
    assert lite3r.normalize(moved).depth[0, 0, 0] < 0.05  # type: ignore[index]
    poses = lite3r.normalize(replace(scene, depth=None, valid=None)).world_to_camera
    assert poses is not None and float(poses[2, 2, 3]) == 1
    with pytest.raises(ValueError, match="s: has no cameras"):
        lite3r.normalize(replace(scene, world_to_camera=None))
    with pytest.raises(ValueError, match="s: has no depth and stands at the origin"):
        lite3r.normalize(
            replace(scene, depth=None, world_to_camera=torch.eye(3, 4).repeat(3, 1, 1))
        )


def test_vggt_folds_and_is_otherwise_free_of_gauge() -> None:
    target = rig(3, 12)
    predicted = disturbed(target, 3, 2, 0.05)
    world = torch.from_numpy(Rotation.random(random_state=5).as_matrix())
    shift = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

    def moved(cameras: torch.Tensor) -> torch.Tensor:
        return torch.cat(
            [cameras[:, :, :3] @ world, cameras[:, :, 3:] + cameras[:, :, :3] @ shift[:, None]], -1
        )

    one = conventions.evaluate_pose(predicted, target, convention="vggt")
    other = conventions.evaluate_pose(moved(predicted), moved(target), convention="vggt")
    assert one.values == pytest.approx(other.values)
    correct = pose.evaluate(predicted, target, direction="folded")
    assert one.values["rra5"] == correct.rra[5]


@pytest.mark.parametrize("convention", ["vggt", "da3"])
def test_a_pair_without_a_true_baseline_is_published_as_90_degrees_off(convention: str) -> None:
    target = torch.eye(3, 4, dtype=torch.float64).repeat(3, 1, 1)
    target[2, 0, 3] = 1  # cameras 0 and 1 stand in one place
    found = conventions.evaluate_pose(
        target, target, convention=convention, thresholds=(30, 90, 91)
    ).values
    assert found["rta30"] == found["rta90"] == pytest.approx(2 / 3)
    assert found["rta91"] == 1
    assert found["rra30"] == 1


def test_published_thresholds_are_whole_degrees() -> None:
    target = rig(0, 3)
    found = conventions.evaluate_pose(target, target, convention="vggt", thresholds=[5.0])
    assert set(found.values) == {"auc5", "rra5", "rta5"}
    for wrong in ([2.5], [float("inf")], []):
        with pytest.raises(ValueError, match="must be whole degrees"):
            conventions.evaluate_pose(target, target, convention="vggt", thresholds=wrong)


def test_da3_depends_on_the_first_camera_and_calls_good_cameras_worse() -> None:
    target = rig(4, 20)
    predicted = disturbed(target, 4, 0.5, 0.01)
    correct = pose.evaluate(predicted, target, direction="folded").auc[3]
    seen = set()
    for first in range(5):
        order = [first, *(i for i in range(20) if i != first)]
        found = conventions.evaluate_pose(predicted[order], target[order], convention="da3")
        seen.add(round(found.values["auc3"], 6))
        again = conventions.evaluate_pose(predicted[order], target[order], convention="vggt")
        assert again.values["auc3"] > found.values["auc3"]
    assert len(seen) > 1
    assert max(seen) < correct


def test_published_numbers_stand_in_a_report_under_their_own_names() -> None:
    target = rig(5, 3)
    report = Report(model="m", dataset="d", seed=0)
    report.add(
        "scene",
        pose.evaluate(target, target),
        lite3r.evaluate_pose(target, target),
        conventions.evaluate_pose(target, target, convention="da3"),
    )
    assert all("alignment" in entry.provenance for entry in report.entries.values())
    protocols = {row.protocol for row in report.summary()}
    assert protocols == {"pose/pairs/signed", "lite3r/pose", "da3/pose"}


def test_unknown_conventions_are_refused() -> None:
    with pytest.raises((ValueError, TypeError), match="mine"):
        conventions.evaluate_pose(rig(0, 2), rig(0, 2), convention="mine")
    with pytest.raises(ValueError, match="at least 2"):
        conventions.evaluate_pose(rig(0, 1), rig(0, 1), convention="vggt")


def test_a_perfect_sample_scores_perfectly_whatever_frame_and_unit_it_is_in() -> None:
    scene = SyntheticScenes("test", count=1, views=2, height=28, width=42)[0]
    assert scene.depth is not None and scene.world_to_camera is not None
    assert scene.intrinsics is not None and scene.valid is not None
    truth = lite3r.normalize(scene)
    assert truth.depth is not None and truth.world_to_camera is not None
    moved = torch.cat([truth.world_to_camera, torch.tensor([[[0.0, 0, 0, 1]]] * 2)], dim=1)
    moved = (moved @ torch.linalg.inv(moved[0]))[:, :3]
    depth = torch.where(truth.valid, truth.depth, truth.depth[truth.valid].max())
    found = lite3r.evaluate_sample(depth, moved, scene.intrinsics, scene)
    values = {name: v for result in found for name, v in result.values.items()}
    assert values["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert values["rot_err_deg"] == pytest.approx(0, abs=0.05)
    assert values["trans_err"] == pytest.approx(0, abs=1e-4)
    assert values["fscore"] > 0.95
    twice = lite3r.evaluate_sample(2 * depth, moved, scene.intrinsics, scene)
    again = {name: v for result in twice for name, v in result.values.items()}
    assert again["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert again["fscore"] < values["fscore"]  # nothing is aligned


def test_a_sample_without_depth_has_poses_alone() -> None:
    scene = replace(SyntheticScenes("test", count=1, views=2, height=28, width=28)[0], depth=None)
    assert scene.world_to_camera is not None and scene.intrinsics is not None
    found = lite3r.evaluate_sample(
        torch.ones(2, 28, 28), scene.world_to_camera, scene.intrinsics, scene
    )
    assert [result.protocol for result in found] == ["lite3r/pose"]
