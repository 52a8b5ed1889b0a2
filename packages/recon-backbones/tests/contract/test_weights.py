"""The weights of every backbone: in a file, from a seed, without memory."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from recon_backbones import Backbone, build_on_meta, list_backbones, load_backbone

from .named import NAMES


def test_weights_survive_a_file(backbone: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(backbone.state_dict(), path)
    again = load_backbone(backbone.name, weights=path)
    assert again.weights is not None and again.weights.kind == "file"
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_a_seed_means_the_same_weights_and_leaves_the_state_alone(backbone: Backbone) -> None:
    state = torch.random.get_rng_state()
    again = load_backbone(backbone.name, weights="random", seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    pairs = zip(again.parameters(), backbone.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    other = load_backbone(backbone.name, weights="random", seed=4)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(other.parameters(), backbone.parameters(), strict=True)
    )


def test_meta_builds_have_the_same_names(backbone: Backbone) -> None:
    empty = build_on_meta(backbone.name).state_dict()
    assert all(tensor.is_meta for tensor in empty.values())
    full = backbone.state_dict()
    assert {n: t.shape for n, t in empty.items()} == {n: t.shape for n, t in full.items()}


def test_every_name_is_listed() -> None:
    assert set(NAMES) <= set(list_backbones())
