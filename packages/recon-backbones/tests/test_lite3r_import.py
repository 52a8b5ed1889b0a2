"""Official Lite3R checkpoints come apart into a backbone and projections."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from recon_backbones import Backbone, import_lite3r, load_backbone


def official(backbone: Backbone) -> dict[str, Tensor]:
    """Lay a backbone out as the official files do."""
    state = dict(backbone.state_dict())
    for site in backbone.attention_sites():
        state[f"{site.name}.proj_lin.weight"] = 1e-3 * torch.randn(site.head_dim, site.head_dim)
    return state


@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_backbone_and_projections_arrive(tmp_path: Path, name: str, wrapped: bool) -> None:
    trained = load_backbone(name, weights="random", seed=8)
    state = official(trained)
    saved = {"model": {f"module.{k}": v for k, v in state.items()}} if wrapped else state
    torch.save(saved, tmp_path / "qat.pt")
    empty = load_backbone(name, weights="random", seed=9, dtype=torch.bfloat16)
    weights = import_lite3r(tmp_path / "qat.pt", empty)
    assert empty.weights is None  # no longer random ones of seed 9
    assert set(weights.projections) == {site.name for site in trained.attention_sites()}
    for key, tensor in empty.state_dict().items():
        assert torch.equal(tensor, state[key].bfloat16())
    for key, tensor in weights.adapter().items():
        site, _, part = key.rpartition(".core.proj_l.")
        given = state[f"{site}.proj_lin.weight"].bfloat16()
        assert torch.equal(
            tensor, given if part == "weight" else torch.zeros(len(given)).bfloat16()
        )


def test_what_is_no_official_file_is_refused(tmp_path: Path) -> None:
    backbone = load_backbone("da3-tiny", weights="random")
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    torch.save(backbone.state_dict(), tmp_path / "plain.pt")
    with pytest.raises(ValueError, match=r"no proj_lin\.weight"):
        import_lite3r(tmp_path / "plain.pt", backbone)
    torch.save(official(load_backbone("vggt-tiny", weights="random")), tmp_path / "other.pt")
    with pytest.raises(ValueError, match="da3-tiny"):
        import_lite3r(tmp_path / "other.pt", backbone)
    state = official(backbone)
    state.pop("model.backbone.pretrained.cls_token")
    torch.save(state, tmp_path / "torn.pt")
    with pytest.raises(ValueError, match="cls_token"):
        import_lite3r(tmp_path / "torn.pt", backbone)
    assert all(torch.equal(tensor, before[n]) for n, tensor in backbone.state_dict().items())
