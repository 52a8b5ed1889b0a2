"""A training goes on where it was, keeps its processes equal, and ends annealed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from recon_backbones import DenseAttention, load_backbone
from recon_backbones.training import (
    WEIGHTS,
    OwnViewAttention,
    Parts,
    Pupil,
    Run,
    Schedule,
    Way,
    export_weights,
    train,
    training_loss,
)
from recon_backbones.training.loop import make_pupil

from .plain import Plain

SIZE = (28, 42)


def wall(rank: int, step: int) -> dict[str, Tensor]:
    """A wall at z = 2 with a new pattern, seen by two cameras side by side."""
    draw = torch.Generator().manual_seed(1000 * rank + step)
    cameras = torch.eye(4)[:3].repeat(1, 2, 1, 1)
    cameras[0, 1, 0, 3] = -0.2
    lens = torch.tensor([[30.0, 0, 21], [0, 30.0, 14], [0, 0, 1]])
    return {
        "images": torch.randint(0, 256, (1, 2, 3, *SIZE), generator=draw, dtype=torch.uint8),
        "depth": torch.full((1, 2, *SIZE), 2.0),
        "valid": torch.ones(1, 2, *SIZE, dtype=torch.bool),
        "world_to_camera": cameras,
        "intrinsics": lens.expand(1, 2, 3, 3),
    }


class Walls:
    """Walls of one process, by step."""

    def __init__(self, rank: int, device: torch.device) -> None:
        self._rank = rank

    def __call__(self, step: int) -> dict[str, Tensor]:
        return wall(self._rank, step)


def look(pupil: Pupil) -> dict[str, float]:
    """The depth of a wall."""
    depth, cameras = pupil.answer(wall(0, 0)["images"][0].float() / 255)
    assert depth.shape == (2, *SIZE) and cameras.shape == (2, 3, 4)
    return {"depth": float(depth.mean())}


class Wild(Plain):
    """Plain, but weights that go on from its state are no numbers."""

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take the state up, and spoil what computes."""
        super().load(tensors)
        with torch.no_grad():
            for working in self._working.values():
                working.fill_(float("nan"))


PARTS = Parts(scenes=Walls, optimizer=Plain, check=look)


def schedule(steps: int) -> Schedule:
    return Schedule(steps=steps, warmup=2, check_every=2, posed_every=3)


def test_the_rate_warms_up_stays_and_ends_at_zero() -> None:
    made = Schedule(steps=1000, peak=0.5)
    assert made.rate(0, 0.0) < 0.01
    assert made.rate(300, 0.0) == made.rate(500, 9.0) == 0.5
    assert 0 < made.rate(999, 0.0) < 0.01
    assert not made.is_over(999, 1e9) and made.is_over(1000, 0.0)


def test_a_run_of_some_minutes_ends_annealed_whatever_it_reached() -> None:
    made = Schedule(steps=10**6, minutes=10.0)
    assert made.rate(500, 3.0) == 1.0
    assert 0 < made.rate(501, 9.99) < 0.01
    assert made.is_over(502, 10.0)
    few = Schedule(steps=1000, minutes=10.0)
    assert few.rate(300, 1.0) == 1.0
    assert 0 < few.rate(999, 5.0) < 0.01 and few.is_over(1000, 5.0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"average": 1.5}, "average=1.5"), ({"peak": 0.0}, "peak=0"), ({"minutes": 0.0}, "minutes=0")],
)
def test_impossible_schedules_are_refused(changes: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Schedule(steps=3, **changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="steps=0"):
        Schedule(steps=0)


def test_more_processes_than_one_need_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="processes=2"):
        Run(folder=tmp_path, schedule=schedule(1), processes=2, device="cuda")


def test_a_beginning_probe_does_not_pull_at_a_trained_network() -> None:
    made = schedule(1000)
    assert made.way(1, trained=True).detach and not made.way(999, trained=True).detach
    assert not made.way(1, trained=False).detach


WAYS = (
    Way(),
    Way(rays=False),
    Way(dense=False),
    Way(posed=True),
    Way(dense=False, posed=True),
)


@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny"])
def test_each_part_of_the_loss_is_finite_and_reaches_the_network(name: str, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    run = Run(folder=tmp_path, schedule=schedule(2), backbone=name, start="random")
    pupil, _ = make_pupil(run, Plain)
    assert torch.equal(torch.get_rng_state(), before)
    batch, met = wall(0, 0), set[str]()
    for chosen in WAYS:
        loss, parts = training_loss(pupil, batch, chosen)
        met |= set(parts)
        assert all(bool(value.isfinite()) for value in parts.values())
        pupil.zero_grad()
        loss.backward()
        for at, block in pupil.blocks().items():
            grad = pupil.get_parameter(f"{at}.attn.qkv.weight").grad
            assert grad is not None and float(grad.float().norm()) > 0, at
            assert block is pupil.get_submodule(at)
    own = {"da3-tiny": {"points", "tracks", "visible"}, "vggt-tiny": set()}[name]
    assert met == {*WEIGHTS, "matched", "total"} - own
    odd = batch | {"images": batch["images"][..., :30]}
    with pytest.raises(ValueError, match="images=30 x 28; sides must be multiples of 14"):
        training_loss(pupil, odd, Way())


def test_only_networks_that_are_trained_here_are_trained(tmp_path: Path) -> None:
    run = Run(folder=tmp_path, schedule=schedule(1), backbone="da3metric-tiny", start="random")
    with pytest.raises(ValueError, match="backbone='da3metric-tiny'; Depth Anything 3 for many"):
        train(run, PARTS)


@pytest.mark.parametrize(("name", "start"), [("da3-tiny", "bundled"), ("vggt-tiny", "da3-tiny")])
def test_an_interrupted_training_ends_bit_equal_and_exports(
    name: str, start: str, tmp_path: Path
) -> None:
    whole = Run(folder=tmp_path / "whole", schedule=schedule(5), backbone=name, start=start)
    parts = replace(whole, folder=tmp_path / "parts", until=3)
    train(whole, PARTS)
    train(parts, PARTS)
    assert int(load_file(parts.folder / "state.safetensors")["step"]) == 3
    train(replace(parts, until=None), PARTS)
    one, two = (load_file(run.folder / "state.safetensors") for run in (whole, parts))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one if name != "minutes")
    first, checked = (
        json.loads((whole.folder / f"{name}.jsonl").read_text().splitlines()[0])
        for name in ("log", "checks")
    )
    assert {"depth", "gradient", "pose", "match", "total"} <= first.keys()
    assert checked["step"] == 2 and checked["depth"] > 0
    for averaged in (True, False):
        weights = tmp_path / f"{averaged}.safetensors"
        assert export_weights(whole.folder, weights, averaged=averaged) == 5
        load_backbone(name, weights=weights)
        assert weights.stat().st_mode == (whole.folder / "run.json").stat().st_mode


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training that was stopped after a step, and would start from random weights."""
    run = Run(folder=tmp_path_factory.mktemp("begun"), schedule=schedule(3), start="random")
    train(replace(run, until=1), PARTS)
    return run


def test_weights_go_where_a_link_leads(begun: Run, tmp_path: Path) -> None:
    link = tmp_path / "weights.safetensors"
    link.symlink_to("disk/step1.safetensors")
    assert export_weights(begun.folder, link) == 1
    assert link.is_symlink() and load_file(tmp_path / "disk" / "step1.safetensors")


@pytest.mark.parametrize(
    ("run", "shape", "said"),
    [
        ({"start": "bundled"}, {}, "start='bundled'; .* has 'random'"),
        ({"start": "some/weights.safetensors"}, {}, "start='/.*/some/weights.safetensors'; "),
        ({"backbone": "da3-small"}, {}, "backbone='da3-small'; .* has 'da3-tiny'"),
        ({}, {"seed": 1}, "seed=1; .* has 0"),
        ({}, {"peak": 0.5}, r"peak=0\.5; .* has 1\.0"),
        ({}, {"decay": 0.9}, r"decay=0\.9; .* has 0\.4"),
        ({}, {"posed_every": 9}, "posed_every=9; .* has 3"),
    ],
)
def test_a_training_goes_on_with_its_own_settings_alone(
    begun: Run, run: dict[str, Any], shape: dict[str, Any], said: str
) -> None:
    before = (begun.folder / "state.safetensors").read_bytes()
    other = replace(begun, **run, schedule=replace(begun.schedule, **shape))
    with pytest.raises(ValueError, match=f"{said}.*: give the same, or another folder"):
        train(other, PARTS)
    assert (begun.folder / "state.safetensors").read_bytes() == before


def test_a_training_may_become_longer_and_tell_more(begun: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(begun.folder, tmp_path / "longer"))
    longer = replace(begun.schedule, steps=9, minutes=60.0, save_minutes=1.0, check_every=1)
    train(replace(begun, folder=folder, schedule=longer, until=2), PARTS)
    assert int(load_file(folder / "state.safetensors")["step"]) == 2


def test_a_training_that_is_past_its_stop_does_not_run_on(begun: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(begun.folder, tmp_path / "past"))
    train(replace(begun, folder=folder, until=2), PARTS)
    for until in (1, 2):
        train(replace(begun, folder=folder, until=until), PARTS)
        assert int(load_file(folder / "state.safetensors")["step"]) == 2


def test_a_folder_in_which_nothing_was_learned_takes_any_settings(tmp_path: Path) -> None:
    none = Run(folder=tmp_path, schedule=schedule(1))
    (tmp_path / "run.json").write_text("{}")
    train(none, PARTS)
    (tmp_path / "run.json").write_text("[1")
    with pytest.raises(ValueError, match=r"run\.json: does not say what was trained"):
        train(none, PARTS)
    (tmp_path / "run.json").unlink()  # of a version that wrote none
    train(none, PARTS)
    assert json.loads((tmp_path / "run.json").read_text())["start"] == "bundled"


def test_two_processes_stay_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath))  # the other process imports this file
    train(Run(folder=tmp_path, schedule=schedule(2), processes=2), PARTS)
    assert int(load_file(tmp_path / "state.safetensors")["step"]) == 2


def test_a_gradient_that_is_no_number_ends_it_and_the_way_out_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath))  # the other process imports this file
    run = Run(folder=tmp_path / "a", schedule=schedule(4))
    train(replace(run, until=1), PARTS)
    for processes in (1, 2):
        said = r"^gradient=nan; .*: train at a lower peak in another folder"
        with pytest.raises(FloatingPointError, match=said):
            train(replace(run, processes=processes), replace(PARTS, optimizer=Wild))
    last = tmp_path / "last.safetensors"
    assert export_weights(run.folder, last) == 1
    lower = replace(schedule(1), peak=0.1)
    train(Run(folder=tmp_path / "b", schedule=lower, start=str(last)), PARTS)
    assert int(load_file(tmp_path / "b" / "state.safetensors")["step"]) == 1


def test_own_view_attention_equals_dense_attention_for_one_view() -> None:
    q, k, v = (torch.randn(1, 2, 9, 8) for _ in range(3))
    alone = OwnViewAttention()(q, k, v, pinned=torch.tensor([0]))
    doubled = [torch.cat([t, t[:, :, :1]], dim=2) for t in (k, v)]
    torch.testing.assert_close(alone, DenseAttention()(q, *doubled))


@pytest.mark.parametrize("special", [1, 3])
def test_own_view_attention_does_not_see_other_views(special: int) -> None:
    q, k, v = (torch.randn(1, 2, 18, 8) for _ in range(3))
    pinned = torch.cat([view + torch.arange(special) for view in (0, 9)])
    before = OwnViewAttention(special)(q, k, v, pinned=pinned)
    v[:, :, 9 + special :] += 1.0  # patches of the second view
    after = OwnViewAttention(special)(q, k, v, pinned=pinned)
    assert torch.equal(before[:, :, :9], after[:, :, :9])
    assert not torch.equal(before[:, :, 9:], after[:, :, 9:])
    assert (before[:, :, 9:] != after[:, :, 9:]).any(dim=-1).all()  # each sees its own patches
