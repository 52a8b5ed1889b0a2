"""Windows, budgets, and what gives a reconstruction its unit of length."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .making import NAMES, arrays, facts, run


def test_windows_and_a_known_distance_give_meters(lite3r: Any, room: Path) -> None:
    words = ("--window", "3", "--overlap", "2", "--known-distance", NAMES[0], NAMES[3], "2.5")
    done = run(lite3r, room, *words)
    assert done.code == 0, done.err
    assert "windows of 3 views that share 2" in " ".join(done.err.split())
    poses = arrays()["world_to_camera"]
    centers = [-pose[:, :3].T @ pose[:, 3] for pose in poses]
    assert np.linalg.norm(centers[3] - centers[0]) == pytest.approx(2.5, rel=1e-4)


def test_a_budget_that_is_too_small_names_the_least(lite3r: Any, room: Path) -> None:
    run(lite3r, room, "--budget", "1MB").refuses("at the very least", "1 MB may be used")
    run(lite3r, room, "--budget", "much").refuses("no amount of memory", "8GB")
    assert not Path("out").exists()


def test_a_metric_network_gives_meters_and_sky(lite3r: Any, room: Path) -> None:
    metric = ("--metric-model", "da3metric-tiny", "--metric-weights", "random")
    done = run(lite3r, room, *metric)
    assert done.code == 0, done.err
    assert facts()["unit"] == "meters, as da3metric-tiny sees them"
    done = run(lite3r, room, "--backbone", "da3nested-tiny", "--window", "3", out="nested")
    assert done.code == 0, done.err
    assert facts("nested")["unit"] == "meters, as the network sees them"


@pytest.mark.parametrize(
    ("network", "weights", "said"),
    [
        ("da3metric-huge", "random", "'da3metric-huge' is unknown"),
        ("da3metric-tiny", "nowhere.safetensors", "nowhere.safetensors does not exist"),
        ("da3-tiny", "random", "sees no metric depth"),
    ],
)
def test_a_metric_network_is_refused_before_the_work(
    lite3r: Any, room: Path, network: str, weights: str, said: str
) -> None:
    done = run(lite3r, room, "--metric-model", network, "--metric-weights", weights)
    done.refuses(said)
    assert "reading photos" not in done.err


def test_scales_that_contradict_each_other_are_refused(lite3r: Any, room: Path) -> None:
    metric = ("--metric-model", "da3metric-tiny", "--metric-weights", "random")
    distance = ("--known-distance", NAMES[0], NAMES[1], "1")
    run(lite3r, room, *metric, *distance).refuses("both give meters")
    run(lite3r, room, *metric, "--cameras", "cameras.npz").refuses("already give the scale")
    run(lite3r, room, "--metric-model", "da3-tiny", "--metric-weights", "random").refuses(
        "sees no metric depth",
    )
    run(lite3r, room, "--backbone", "da3metric-tiny").refuses("finds no cameras")
    assert not Path("out").exists()
