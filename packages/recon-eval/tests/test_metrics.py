"""Every number of every result is a metric with one name, and the better side is the truth's."""

import pytest
import torch

from recon_eval import METRICS, change_in_words, depth, efficiency, metric_of, points, pose
from recon_eval.report import Result


def results() -> list[Result]:
    rig = torch.eye(3, 4).repeat(4, 1, 1)
    rig[:, :, 3] = torch.rand(4, 3)
    maps, cloud = torch.rand(2, 4, 5) + 1, torch.rand(9, 3)
    return [
        depth.evaluate(maps, maps),
        pose.evaluate(rig, rig),
        pose.evaluate_trajectory(rig, rig),
        points.evaluate(
            cloud, cloud, thresholds=[0.1], predicted_normals=cloud, target_normals=cloud
        ),
        efficiency.measure(lambda: torch.ones(3) + 1, warmup=0, repeats=2, views=1, flops=True),
    ]


def test_every_number_is_a_metric() -> None:
    keys = [key for result in results() for key in result.numbers()]
    assert len(keys) > 50
    assert {metric_of(key) for key in keys} <= set(METRICS)


def test_the_truth_scores_best() -> None:
    scored = [(k, v) for result in results()[:4] for k, v in result.numbers().items()]
    assert len(scored) > 40
    for key, value in scored:
        best = {"low": 0.0, "high": 1.0}[str(metric_of(key).better)]
        assert value == pytest.approx(best, abs=1e-5), key


def test_names_are_all_different_and_others_are_refused() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    with pytest.raises(ValueError, match="key='absrel'; it must be a metric: abs_rel"):
        metric_of("absrel")


def test_a_change_is_said_as_a_share_of_errors_and_in_points_of_shares() -> None:
    assert change_in_words("abs_rel", 0.25, 0.2) == "20.0% smaller"
    assert change_in_words("f_score@0.05", 0.5, 0.75) == "25.0 higher"
    for before, after in ((2.0, 2.0), (2.0, 1.9995), (2.0, 2.0005)):
        assert change_in_words("rotation_degrees", before, after) == "the same"
    assert change_in_words("auc30", 0.6498, 0.6494) == "the same"
    with pytest.raises(ValueError, match="key='absrel'"):
        change_in_words("absrel", 1.0, 1.0)
