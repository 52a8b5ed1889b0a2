"""Files: names, shapes, round trips, and what is refused."""

import copy
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from fp8_qat import convert, load_fp8, prepare, recipes, save_fp8
from fp8_qat.files import checkpoint


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(200, 300), nn.LayerNorm(300), nn.Linear(300, 32))


def deployed(name: str) -> tuple[nn.Sequential, nn.Sequential]:
    plain = mlp()
    model = copy.deepcopy(plain)
    prepare(model, recipes.by_name(name), exclude="2" if name == "tensorwise" else None)
    convert(model, backend="reference")
    return plain.eval(), model.eval()


def test_a_file_is_for_those_whom_the_umask_leaves(tmp_path) -> None:
    save_fp8(deployed("rowwise")[1], tmp_path / "model.safetensors")
    (tmp_path / "plain").touch()
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize("there", [True, False])
def test_of_a_link_what_it_leads_to_is_written(tmp_path: Path, there: bool) -> None:
    link, target = tmp_path / "link.safetensors", tmp_path / "disk" / "model.safetensors"
    target.parent.mkdir()
    link.symlink_to("disk/model.safetensors")
    if there:
        target.write_bytes(b"old")
    save_fp8(deployed("rowwise")[1], link)
    assert link.is_symlink() and list(target.parent.iterdir()) == [target]
    assert "0.weight_scale" in load_file(target)


def test_what_bfloat16_holds_exactly_is_written_as_such_and_nothing_else(tmp_path: Path) -> None:
    model, path = mlp().eval(), tmp_path / "model.safetensors"
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(300).bfloat16())
        model[1].bias[0] = 1 + 2**-9  # one value that bfloat16 does not hold
    prepare(model, recipes.rowwise(), exclude="2")
    convert(model, backend="reference")
    save_fp8(model, path)
    types = {key: tensor.dtype for key, tensor in load_file(path).items()}
    assert types["1.weight"] == torch.bfloat16
    assert types["1.bias"] == types["2.weight"] == types["0.weight_scale"] == torch.float32
    again = mlp().eval()
    load_fp8(again, path, backend="reference")
    assert {p.dtype for p in again.parameters() if p.dtype.itemsize > 1} == {torch.float32}
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name].float(), value.float()), name


@pytest.mark.parametrize(
    ("layout", "name", "scales"),
    [
        ("plain", "rowwise", {"0.weight_scale": (300, 1), "2.weight_scale": (32, 1)}),
        ("plain", "mxfp8", {"0.weight_scale": (300, 7), "2.weight_scale": (32, 10)}),
        ("compressed-tensors", "rowwise", {"0.weight_scale": (300, 1), "2.weight_scale": (32, 1)}),
        ("compressed-tensors", "tensorwise", {"0.weight_scale": (1,)}),
        ("compressed-tensors", "block", {"0.weight_scale": (3, 2), "2.weight_scale": (1, 3)}),
        (
            "deepseek",
            "deepseek_block",
            {"0.weight_scale_inv": (3, 2), "2.weight_scale_inv": (1, 3)},
        ),
        ("deepseek", "block", {"0.weight_scale_inv": (3, 2), "2.weight_scale_inv": (1, 3)}),
    ],
)
def test_layouts_have_their_names_and_come_back(layout, name, scales, tmp_path) -> None:
    plain, model = deployed(name)
    path = tmp_path / "model.safetensors"
    save_fp8(model, path, layout=layout)
    tensors = load_file(path)
    others = {k for k in plain.state_dict()}
    assert {k: tuple(v.shape) for k, v in tensors.items() if k not in others} == scales
    assert tensors["0.weight"].dtype == torch.float8_e4m3fn
    before = plain[0].weight.detach().clone()
    load_fp8(plain, path, backend="reference")
    x = torch.randn(5, 200)
    assert torch.equal(plain(x), model(x))
    block = 128 if name.endswith("block") else 32 if name == "mxfp8" else 10**6
    key = next(k for k in scales if k.startswith("0."))
    scale = tensors[key].float().reshape(-1, tensors[key].shape[-1])
    rows = -(-300 // scale.shape[0])
    rows = 128 if name.endswith("block") else rows
    full = (
        scale.repeat_interleave(rows, 0)[:300].repeat_interleave(block, 1)[:, :200]
        if (block < 10**6)
        else scale.repeat_interleave(rows, 0)[:300]
    )
    back = tensors["0.weight"].float() * full
    assert (back - before).norm() < 0.04 * before.norm()  # the scale multiplies back


@pytest.mark.parametrize(
    ("name", "shape"), [("rowwise", (1, 1)), ("block", (1, 1)), ("tensorwise", (1,))]
)
def test_only_the_scale_of_a_whole_tensor_is_flat(name: str, shape: tuple, tmp_path) -> None:
    layer, other, path = nn.Linear(96, 1), nn.Linear(96, 1), tmp_path / "model.safetensors"
    prepare(layer, recipes.by_name(name))
    convert(layer, backend="reference")
    save_fp8(layer, path, layout="compressed-tensors")
    assert load_file(path)["weight_scale"].shape == shape
    load_fp8(other, path, backend="reference")
    x = torch.randn(5, 96)
    assert torch.equal(other(x), layer(x))


def test_configs_say_what_other_programs_expect(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    _, model = deployed("tensorwise")
    save_fp8(model, path, layout="compressed-tensors")
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["quantization_config"])
    assert config["ignore"] == ["2"]
    group = config["config_groups"]["group_0"]
    assert group["weights"]["strategy"] == group["input_activations"]["strategy"] == "tensor"
    assert group["input_activations"]["dynamic"] and not group["weights"]["dynamic"]
    _, model = deployed("deepseek_block")
    save_fp8(model, path, layout="deepseek")
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["quantization_config"])
    assert config["weight_block_size"] == [128, 128] and config["quant_method"] == "fp8"


def test_foreign_files_load_with_a_named_recipe(tmp_path) -> None:
    plain, model = deployed("deepseek_block")
    save_fp8(model, tmp_path / "ours.safetensors", layout="deepseek")
    save_file(load_file(tmp_path / "ours.safetensors"), tmp_path / "theirs.safetensors")
    with pytest.raises(ValueError, match="pass recipe= and layout="):
        load_fp8(plain, tmp_path / "theirs.safetensors", backend="reference")
    recipe = recipes.deepseek_block()
    load_fp8(
        plain,
        tmp_path / "theirs.safetensors",
        recipe=recipe,
        layout="deepseek",
        backend="reference",
    )
    x = torch.randn(5, 200)
    assert torch.equal(plain(x), model(x))


@pytest.mark.parametrize(
    ("layout", "name", "message"),
    [
        ("deepseek", "rowwise", "blocks of 128 x 128"),
        ("compressed-tensors", "mxfp8", r"recipe=.* it must be E4M3.*: use layout 'plain'"),
        ("compressed-tensors", "delayed", r"recipe=.* it must be E4M3.*: use layout 'plain'"),
        ("gguf", "rowwise", "choose one of plain, compressed-tensors, deepseek"),
    ],
)
def test_layouts_refuse_what_they_cannot_express(layout, name, message, tmp_path) -> None:
    _, model = deployed(name)
    with pytest.raises(ValueError, match=message):
        save_fp8(model, tmp_path / "model.safetensors", layout=layout)


@pytest.mark.multiplies
def test_delayed_state_comes_back_in_the_plain_layout(tmp_path) -> None:
    plain, x = mlp(), torch.randn(4, 200)
    model = copy.deepcopy(plain)
    prepare(model, recipes.delayed(history=3))
    for _ in range(3):
        model(x)
    convert(model, backend="reference")
    save_fp8(model, tmp_path / "model.safetensors")
    load_fp8(plain, tmp_path / "model.safetensors", backend="scaled_mm")
    assert torch.equal(plain[0].input_quantizer.multiplier, model[0].input_quantizer.multiplier)
    load_fp8(mlp_copy := mlp(), tmp_path / "model.safetensors", backend="reference")
    assert torch.equal(mlp_copy.eval()(x), model.eval()(x))


def test_what_a_file_leaves_in_high_precision_is_reported(tmp_path) -> None:
    plain, model = deployed("tensorwise")
    report = load_fp8(plain, saved(model, tmp_path / "model.safetensors"), backend="reference")
    assert report.left == ("2",) and [entry.name for entry in report.layers] == ["0"]
    assert report.recipe == "tensorwise" and report.backend == "reference"
    assert report.layers[0].bytes_after == 300 * 200 + 4
    assert "nan" not in str(report) and report.as_dict()["layers"][0]["weight_sqnr_db"] is None


def saved(model, path):
    save_fp8(model, path)
    return path


def change(path, edit) -> None:
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop("0.weight_scale"), r"missing \['0.weight_scale'\]"),
        (lambda t: t.update({"9.weight_scale": torch.ones(1)}), r"extra \['9.weight_scale'\]"),
        (lambda t: t.update({"0.weight_scale": torch.ones(3, 1)}), r"shape \['0.weight_scale'\]"),
        (lambda t: t.pop("1.bias"), r"missing \['1.bias'\]"),
        (
            lambda t: t["2.weight_scale"].mul_(-1),
            r"weight_scale of layer '2'=-.*; it must hold positive",
        ),
        (
            lambda t: t["0.weight_scale"][3].fill_(torch.nan),
            r"of layer '0'=nan to nan; it must hold positive",
        ),
        (
            lambda t: t.update({"2.weight": t["2.weight"].float()}),
            r"weight of layer '2': dtype=torch",
        ),
    ],
)
def test_damaged_files_are_refused_and_nothing_changes(edit, message, tmp_path) -> None:
    plain, model = deployed("rowwise")
    path = tmp_path / "model.safetensors"
    save_fp8(model, path)
    change(path, edit)
    before = copy.deepcopy(plain.state_dict())
    with pytest.raises(ValueError, match=message):
        load_fp8(plain, path, backend="reference")
    assert all(torch.equal(v, before[k]) for k, v in plain.state_dict().items())
    assert type(plain[0]) is nn.Linear


def test_other_files_and_models_are_refused(tmp_path) -> None:
    plain, model = deployed("rowwise")
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="cannot be read"):
        load_fp8(plain, path, backend="reference")
    with pytest.raises(ValueError, match="layer '0': device=meta"):
        load_fp8(mlp().to("meta"), saved(model, path))
    with pytest.raises(ValueError, match=r"layer '0': dtype=torch\.float64; it must be float32"):
        load_fp8(mlp().double(), path)
    path.write_bytes(struct.pack("<Q", 10**9))
    with pytest.raises(ValueError, match="cannot be read"):
        load_fp8(plain, path, backend="reference")
    with pytest.raises(ValueError, match=r"FP8 layers=0; .* call convert"):
        save_fp8(plain, path)
    save_fp8(model, path)
    with pytest.raises(ValueError, match="'0' that the model lacks"):
        load_fp8(nn.Module(), path)
    with pytest.raises(ValueError, match="layer '0': kind=LayerNorm"):
        load_fp8(nn.Sequential(nn.LayerNorm(3), nn.LayerNorm(3), nn.Linear(3, 3)), path)
    with pytest.raises(ValueError, match="choose one of auto, reference"):
        load_fp8(plain, path, backend="fast")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float8_e5m2])
def test_a_file_without_an_fp8_weight_of_the_recipe_is_refused(dtype, tmp_path) -> None:
    plain, path = nn.Sequential(nn.Linear(8, 8)), tmp_path / "model.safetensors"
    tensors = plain.state_dict() | {"0.weight": plain[0].weight.detach().to(dtype)}
    save_file(tensors, path)
    with pytest.raises(ValueError, match="it must hold an FP8 weight of the recipe's format"):
        load_fp8(plain, path, recipe=recipes.rowwise(), layout="plain")


def test_extra_state_that_is_no_tensor_is_refused_by_name(tmp_path, monkeypatch) -> None:
    _, model = deployed("rowwise")
    monkeypatch.setattr(nn.LayerNorm, "get_extra_state", lambda norm: {"steps": 3})
    with pytest.raises(ValueError, match=r"\['1._extra_state'\]=dict; it must be a torch.Tensor"):
        save_fp8(model, tmp_path / "model.safetensors")


def test_shared_layers_come_back_shared(tmp_path) -> None:
    def make() -> nn.Module:
        model = nn.ModuleDict({"a": nn.Linear(32, 32)})
        model["b"] = model["a"]
        return model

    model, x = make(), torch.randn(3, 32)
    prepare(model, recipes.rowwise())
    convert(model, backend="reference")
    save_fp8(model, tmp_path / "model.safetensors")
    load_fp8(other := make(), tmp_path / "model.safetensors", backend="reference")
    assert other["a"] is other["b"]
    assert torch.equal(other["b"](x), model["b"](x))


def test_several_writers_of_one_file_leave_it_whole(tmp_path: Path) -> None:
    path, (_, model) = tmp_path / f"{'long' * 60}.safetensors", deployed("rowwise")
    with ThreadPoolExecutor(4) as writers:
        for written in [writers.submit(save_fp8, model, path) for _ in range(24)]:
            written.result()
            assert load_file(path).keys() == model.state_dict().keys()
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_refuses_leaves_the_file_that_was_there(tmp_path, monkeypatch) -> None:
    def refusing(tensors, path, metadata):  # as versions of safetensors that write in place
        Path(path).write_bytes(b"half of")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    _, model = deployed("rowwise")
    path = tmp_path / "model.safetensors"
    save_fp8(model, path)
    before = path.read_bytes()
    monkeypatch.setattr(checkpoint, "save_file", refusing)
    with pytest.raises(OSError, match=r"path=.*model.safetensors; it cannot be written .*No space"):
        save_fp8(model, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
