"""Pretraining: targets in one frame, an optimiser with laws, a loop that goes on where it was."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lite3r.pretrain.assess import OwnViewAttention, assess
from lite3r.pretrain.batches import make_batch
from lite3r.pretrain.config import Phase, PretrainConfig, da3_tiny_recipe
from lite3r.pretrain.export import export_weights
from lite3r.pretrain.loop import pretrain
from lite3r.pretrain.muon import MasterOptimizer, newton_schulz
from lite3r.pretrain.shards import ShardConfig, Shards, render_shards
from lite3r.pretrain.targets import IGNORE, make_targets, rays
from recon_backbones import DenseAttention, load_backbone
from recon_eval.synthetic import SyntheticScenes

SHARDS = ShardConfig(scenes=4, views=3, size=28, scenes_per_shard=2)


def tiny_config(steps: int) -> PretrainConfig:
    phase = Phase(
        steps=steps, shards=SHARDS, views_per_process=6, views_cycle=(2, 3, 1), dense_every=2
    )
    return PretrainConfig(phases=(phase,), warmup=2, save_every=2, check_every=100, posed_every=3)


def test_targets_do_not_depend_on_world_frame_or_unit() -> None:
    scene = SyntheticScenes("train", count=1, views=3, height=42, width=56)[0]
    assert scene.depth is not None and scene.intrinsics is not None
    assert scene.world_to_camera is not None
    cameras = scene.world_to_camera[None]
    turn = torch.linalg.qr(torch.randn(3, 3)).Q
    turn = turn * turn.det()
    moved = torch.cat(
        [cameras[..., :3] @ turn, 2.5 * (cameras[..., :3] @ torch.randn(3, 1) + cameras[..., 3:])],
        dim=-1,
    )
    one = make_targets(scene.depth[None], cameras, scene.intrinsics[None])
    other = make_targets(2.5 * scene.depth[None], moved, scene.intrinsics[None])
    torch.testing.assert_close(one.pose, other.pose, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.depth, other.depth, rtol=1e-4, atol=1e-4)


def test_rays_meet_on_the_surface_that_matches_say_they_share() -> None:
    scene = SyntheticScenes("train", count=1, views=2, height=112, width=112)[0]
    assert scene.depth is not None and scene.intrinsics is not None
    assert scene.world_to_camera is not None
    targets = make_targets(scene.depth[None], scene.world_to_camera[None], scene.intrinsics[None])
    cast = rays(targets, 112, 112)[0]
    points = cast[..., 3:] + cast[..., :3] * targets.depth[0, ..., None]
    patches = points[:, 7::14, 7::14].flatten(1, 2)
    matched = targets.matches[0, 0, :, 1]
    seen = (matched != IGNORE).nonzero()[:, 0]
    apart = (patches[0, seen] - patches[1, matched[seen]]).norm(dim=-1)
    assert len(seen) > 10
    assert float(apart.median()) < 0.15  # within a patch of each other; the unit is the scene's


def test_newton_schulz_flattens_the_singular_values() -> None:
    matrix = torch.randn(2, 24, 40)
    values = torch.linalg.svdvals(newton_schulz(matrix).float())
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.5


def test_the_optimiser_lowers_a_loss_and_keeps_masters_in_float32() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
    optimizer = MasterOptimizer(network, hidden=["0.weight"], muon_lr=0.05, adam_lr=0.02)
    network.bfloat16()
    x, y = torch.randn(64, 8).bfloat16(), torch.randn(64, 4).bfloat16()
    losses = []
    for _ in range(60):
        loss = (network(x) - y).float().square().mean()
        loss.backward()
        optimizer.step({n: p.grad.float() for n, p in network.named_parameters()}, 1.0)
        network.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert all(master.dtype == torch.float32 for master in optimizer.masters.values())


def test_a_state_of_another_network_is_refused() -> None:
    one = MasterOptimizer(torch.nn.Linear(3, 3), hidden=["weight"])
    other = MasterOptimizer(torch.nn.Linear(3, 3, bias=False), hidden=["weight"])
    with pytest.raises(ValueError, match="another network"):
        other.load(one.state())


def test_the_rate_warms_up_stays_and_ends_at_zero() -> None:
    config = da3_tiny_recipe(small_steps=800, large_steps=200)
    assert config.rate(0) < 0.01
    assert config.rate(300) == config.rate(500) == 1.0
    assert 0 < config.rate(config.steps - 1) < 0.01
    assert config.phase(799).shards.size == 112
    assert config.phase(800).shards.size == 224


def test_views_that_do_not_divide_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="views_cycle holds 4"):
        Phase(steps=1, shards=SHARDS, views_per_process=6, views_cycle=(4,), dense_every=1)


def test_an_interrupted_training_ends_bit_equal_and_exports(tmp_path: Path) -> None:
    assert sorted(render_shards(tmp_path / "scenes", SHARDS, workers=1)) == [0, 1]
    assert list(render_shards(tmp_path / "scenes", SHARDS, workers=1)) == []
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pretrain(whole, tmp_path / "scenes", tiny_config(4), processes=1)
    pretrain(parts, tmp_path / "scenes", tiny_config(4), processes=1, until=3)
    assert int(load_file(parts / "state.safetensors")["step"]) == 2
    pretrain(parts, tmp_path / "scenes", tiny_config(4), processes=1)
    one, two = (load_file(folder / "state.safetensors") for folder in (whole, parts))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    first = json.loads((whole / "log.jsonl").read_text().splitlines()[0])
    assert {"depth", "gradient", "pose", "match", "rays", "total"} <= first.keys()
    assert export_weights(whole, tmp_path / "da3-tiny.safetensors") == 4
    backbone = load_backbone("da3-tiny", weights=tmp_path / "da3-tiny.safetensors")
    rows = list(assess(backbone, sizes=(28,), views=(2,), scenes=2))
    assert [row.predictor for row in rows][:3] == ["teacher", "each view alone", "constant depth"]
    assert type(backbone.get_submodule(backbone.attention_sites()[3].name + ".core")) is (
        DenseAttention
    )


def test_batches_are_a_function_of_step_and_process(tmp_path: Path) -> None:
    list(render_shards(tmp_path, SHARDS, workers=1))
    shards, config = Shards(tmp_path, SHARDS), tiny_config(9)
    one = make_batch(shards, config, step=4, rank=0)
    again = make_batch(shards, config, step=4, rank=0)
    other = make_batch(shards, config, step=4, rank=1)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["images"], other["images"])
    assert one["images"].shape == (2, 3, 3, 28, 28)


def test_own_view_attention_equals_dense_attention_for_one_view() -> None:
    q, k, v = (torch.randn(1, 2, 9, 8) for _ in range(3))
    alone = OwnViewAttention()(q, k, v, pinned=torch.tensor([0]))
    doubled = [torch.cat([t, t[:, :, :1]], dim=2) for t in (k, v)]
    torch.testing.assert_close(alone, DenseAttention()(q, *doubled))


def test_own_view_attention_does_not_see_other_views() -> None:
    q, k, v = (torch.randn(1, 2, 18, 8) for _ in range(3))
    pinned = torch.tensor([0, 9])
    before = OwnViewAttention()(q, k, v, pinned=pinned)
    v[:, :, 10:] += 1.0  # patches of the second view
    after = OwnViewAttention()(q, k, v, pinned=pinned)
    assert torch.equal(before[:, :, :9], after[:, :, :9])
    assert not torch.equal(before[:, :, 9:], after[:, :, 9:])
