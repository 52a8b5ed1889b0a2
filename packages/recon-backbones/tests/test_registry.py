"""Weights are found, fitted strictly, or refused with the way out."""

import ctypes
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from recon_backbones import (
    BackboneEntry,
    build_on_meta,
    list_backbones,
    load_backbone,
    register_backbone,
)
from recon_backbones import registry as registry_module
from recon_backbones.weights.checkpoint import fit

KEYS = Path(__file__).parent / "fixtures" / "keys"
PUBLIC = (
    "da3-small",
    "da3-base",
    "da3-large",
    "da3-giant",
    "da3mono-large",
    "da3metric-large",
    "da3nested-giant-large",
    "vggt-1b",
)


@pytest.fixture(scope="module")
def tiny() -> dict[str, Tensor]:
    return load_backbone("da3-tiny", weights="random").state_dict()


def manifest(name: str) -> dict[str, list[int]]:
    """Names and shapes of a public file; the nested one holds two others."""
    if name == "da3nested-giant-large":
        parts = {
            "model.da3.": manifest("da3-giant"),
            "model.da3_metric.": manifest("da3mono-large"),
        }
        return {
            key.replace("model.", prefix, 1): shape
            for prefix, part in parts.items()
            for key, shape in part.items()
        }
    same = "da3mono-large" if name == "da3metric-large" else name
    shapes: dict[str, list[int]] = json.loads(
        gzip.decompress((KEYS / f"{same}.json.gz").read_bytes())
    )
    return shapes


@pytest.mark.parametrize("name", PUBLIC)
def test_names_and_shapes_are_those_of_the_public_file(name: str) -> None:
    public = manifest(name)
    state = build_on_meta(name).state_dict()
    assert all(tensor.is_meta for tensor in state.values())
    assert {key: list(tensor.shape) for key, tensor in state.items()} == public


@pytest.mark.parametrize("name", PUBLIC)
def test_without_network_the_hub_error_names_the_way_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(module: str) -> Any:
        raise ImportError(module)

    monkeypatch.setattr(registry_module, "import_module", offline)
    entry = registry_module.backbone_entry(name)
    with pytest.raises(ValueError) as caught:
        load_backbone(name, weights="hub")
    for part in (str(entry.hub), entry.license, "huggingface-hub", "weights='/path"):
        assert part in str(caught.value)


def test_the_hub_file_is_loaded_with_its_revision(
    tiny: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(tiny, tmp_path / "model.safetensors")
    asked: list[Any] = []

    class Hub:
        class HfHubHTTPError(Exception):
            pass

        @staticmethod
        def hf_hub_download(repository: str, file: str, *, revision: str | None) -> str:
            asked.append((repository, file, revision))
            if revision == "gone":
                raise Hub.HfHubHTTPError
            return str(tmp_path / file)

    monkeypatch.setattr(registry_module, "import_module", lambda name: Hub)
    entry = registry_module.backbone_entry("da3-tiny")
    hub = BackboneEntry(name="on-the-hub", build=entry.build, license="MIT", hub="somebody/some")
    monkeypatch.setitem(registry_module._ENTRIES, "on-the-hub", hub)
    loaded = load_backbone("on-the-hub", weights="hub", revision="abc")
    assert asked == [("somebody/some", "model.safetensors", "abc")]
    assert loaded.weights is not None
    assert (loaded.weights.license, loaded.weights.revision) == ("MIT", "abc")
    with pytest.raises(ValueError, match="somebody/some"):
        load_backbone("on-the-hub", weights="hub", revision="gone")


def test_unknown_names_and_needless_revisions_are_refused() -> None:
    with pytest.raises(ValueError, match="da3-tiny"):
        load_backbone("da3-huge", weights="random")
    with pytest.raises(ValueError, match="revision"):
        load_backbone("da3-tiny", weights="random", revision="main")
    with pytest.raises(ValueError, match="no weights on the Hub"):
        load_backbone("da3-tiny", weights="hub")
    for seed in (-1, 1 << 63):
        with pytest.raises(ValueError, match=f"seed={seed}; it must be a whole number from 0"):
            load_backbone("da3-tiny", weights="random", seed=seed)
    with pytest.raises(ValueError, match="no bundled weights"):
        load_backbone("da3-small", weights="bundled")
    with pytest.raises(ValueError, match="registered already"):
        register_backbone(registry_module.backbone_entry("da3-tiny"))


def test_bundled_weights_load_or_say_that_they_are_missing() -> None:
    bundled = Path(registry_module.__file__).parent / "bundled" / "da3-tiny.safetensors"
    if bundled.is_file():
        backbone = load_backbone("da3-tiny", weights="bundled")
        assert {p.dtype for p in backbone.parameters()} == {torch.float32}
        assert bundled.stat().st_size <= 12 * 2**20
    else:
        with pytest.raises(ValueError, match="weights='bundled'"):
            load_backbone("da3-tiny", weights="bundled")


@pytest.mark.parametrize("prefix", [True, False])
def test_prefix_and_aliases_are_both_accepted(
    tiny: dict[str, Tensor], tmp_path: Path, prefix: bool
) -> None:
    state = dict(tiny)
    stem = "model.head.scratch.output_conv2_aux"
    for level in (1, 2, 3):
        for part in ("weight", "bias"):
            state[f"{stem}.{level}.2.{part}"] = state[f"{stem}.0.2.{part}"].clone()
    if not prefix:
        state = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    save_file(state, tmp_path / "full.safetensors")
    loaded = load_backbone("da3-tiny", weights=tmp_path / "full.safetensors").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tiny.items())
    changed = next(name for name in state if "output_conv2_aux.3.2.weight" in name)
    state[changed] = state[changed] + 1
    save_file(state, tmp_path / "torn.safetensors")
    with pytest.raises(ValueError, match="one tensor"):
        load_backbone("da3-tiny", weights=tmp_path / "torn.safetensors")


def test_a_directory_and_a_pickle_of_tensors_load(tiny: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": tiny}, tmp_path / "model.pt")
    from_folder = load_backbone("da3-tiny", weights=tmp_path).state_dict()
    assert all(torch.equal(from_folder[name], tensor) for name, tensor in tiny.items())


def test_a_pickle_of_code_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": Path("x")}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="tensors only"):
        load_backbone("da3-tiny", weights=tmp_path / "model.pt")


def test_another_models_file_names_the_differences(tmp_path: Path) -> None:
    other = load_backbone("vggt-tiny", weights="random").state_dict()
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(ValueError) as caught:
        load_backbone("da3-tiny", weights=tmp_path / "other.safetensors")
    message = str(caught.value)
    assert "missing" in message and "unexpected" in message and "cls_token" in message


def test_a_wrong_shape_is_named(tiny: dict[str, Tensor], tmp_path: Path) -> None:
    name = "model.backbone.pretrained.pos_embed"
    save_file(tiny | {name: tiny[name][:, :10].clone()}, tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match=r"pos_embed: \(1, 10, 192\) instead of \(1, 1370, 192\)"):
        load_backbone("da3-tiny", weights=tmp_path / "short.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        lambda weight: weight.to(torch.int8),
        lambda weight: weight > 0,
        lambda weight: weight.to(torch.complex64),
        lambda weight: weight.to_sparse(),
        lambda weight: weight.to("meta"),
    ],
)
def test_tensors_that_are_no_weights_are_named(
    tiny: dict[str, Tensor], tmp_path: Path, change: Callable[[Tensor], Tensor]
) -> None:
    name = "model.backbone.pretrained.blocks.0.attn.qkv.weight"
    torch.save(tiny | {name: change(tiny[name])}, tmp_path / "model.pt")
    with pytest.raises(
        ValueError, match=r"1 not dense floating point, first .*qkv\.weight: torch\."
    ):
        load_backbone("da3-tiny", weights=tmp_path)


def test_integers_stay_where_the_network_has_integers(tmp_path: Path) -> None:
    norm = nn.BatchNorm2d(3)
    fit(norm, norm.state_dict() | {"num_batches_tracked": torch.tensor(7)}, source="here")
    assert norm.num_batches_tracked == 7


def test_tensors_by_other_things_than_names_are_refused(tmp_path: Path) -> None:
    torch.save({0: torch.ones(2), 1: torch.ones(2)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt holds no dictionary of tensors"):
        load_backbone("da3-tiny", weights=tmp_path)


@pytest.mark.parametrize("kind", ["absent", "cut", "text", "suffix", "folder", "cut pickle"])
def test_broken_files_are_named(tiny: dict[str, Tensor], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "broken.safetensors"
    if kind == "cut":
        save_file(tiny, path)
        path.write_bytes(path.read_bytes()[:100_000])
    elif kind == "text":
        path.write_text("no tensors here, only words and words and words")
    elif kind == "suffix":
        path = tmp_path / "broken.onnx"
        path.touch()
    elif kind == "folder":
        path = tmp_path / "broken"
        path.mkdir()
    elif kind == "cut pickle":
        path = tmp_path / "broken.pt"
        torch.save(tiny, path)
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="broken"):
        load_backbone("da3-tiny", weights=path)


def test_safetensors_are_mapped_not_copied(tmp_path: Path) -> None:
    """Anonymous memory must not grow by the weights: their pages stay those of the file."""
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("anonymous memory is counted by way of /proc")

    def anonymous() -> int:
        line = next(row for row in status.read_text().splitlines() if row.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    state = load_backbone("da3-small", weights="random").state_dict()
    save_file(state, tmp_path / "model.safetensors")
    size = sum(t.numel() * t.element_size() for t in state.values())
    del state
    ctypes.CDLL(None).malloc_trim(0)  # or the load could reuse what was freed, unseen
    before = anonymous()
    loaded = load_backbone("da3-small", weights=tmp_path)
    grown = anonymous() - before
    assert sum(p.numel() for p in loaded.parameters()) * 4 == size
    assert grown < 0.2 * size


def test_the_list_holds_both_families() -> None:
    assert {"da3-tiny", "vggt-tiny", *PUBLIC} <= set(list_backbones())


def test_random_weights_leave_the_random_state_of_every_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reseeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)
    before = torch.get_rng_state()
    load_backbone("da3-tiny", weights="random", seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    assert not reseeded


@pytest.mark.parametrize("device", ["gpu", "cuda:99", torch.device("cuda", 99)])
def test_a_device_that_is_not_there_is_refused_before_weights_are_read(device: object) -> None:
    with pytest.raises(ValueError, match=r"^device=\S+; PyTorch must find it here .*: use cpu$"):
        load_backbone("da3-tiny", weights="nowhere", device=device)  # type: ignore[arg-type]
