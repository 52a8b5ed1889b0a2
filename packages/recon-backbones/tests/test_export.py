"""An ONNX graph computes what PyTorch does, and what cannot become one is refused by name."""

import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recon_backbones import InputError, load_backbone, replace_attention
from recon_backbones.export import Shape, onnx, write_onnx
from recon_backbones.program import FIELDS, Outputs

from .short import short

MISSING = [name for name in onnx.NEEDED if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed")
SHAPE = Shape(views=2, height=28, width=42)


@needs_onnx
@pytest.mark.parametrize("name", ["da3-tiny", pytest.param("vggt-tiny", marks=pytest.mark.nightly)])
def test_onnxruntime_computes_every_output_as_pytorch_does(
    tmp_path: Path,
    name: str,
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    import onnxruntime

    backbone = short(name).train()
    (tmp_path / "link.onnx").symlink_to("new/model.onnx")
    made = write_onnx(tmp_path / "link.onnx", backbone, SHAPE)
    logged = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert not logged and not recwarn.list  # what exporters say of themselves
    assert all(part.training for part in backbone.modules())
    assert made.path.is_file() and made.bytes == made.path.stat().st_size
    assert made.difference < 1e-3
    assert made.path == tmp_path / "link.onnx" and made.path.is_symlink()
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new/model.onnx"]
    session = onnxruntime.InferenceSession(str(made.path), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    assert (taken.name, taken.shape) == ("images", [1, 2, 3, 28, 42])
    assert tuple(given.name for given in session.get_outputs()) == FIELDS
    images = torch.rand(1, 2, 3, 28, 42, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = Outputs(backbone)(images)
    for found, wanted in zip(session.run(None, {"images": images.numpy()}), expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=2e-3, atol=2e-3)


@torch.library.custom_op("recon_test::mix", mutates_args=())
def mix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention that no exporter knows."""
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


@mix.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q.new_empty(q.shape)


class Mix(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, pinned: Any = None) -> Tensor:
        return torch.ops.recon_test.mix(q, k, v)  # type: ignore[no-any-return]


@needs_onnx
def test_operators_that_onnx_does_not_know_are_named_with_the_way_out(tmp_path: Path) -> None:
    backbone = short("da3-tiny")
    replace_attention(backbone, lambda site: Mix())
    with pytest.raises(InputError, match=r"operators=recon_test.mix.default; .*write them out"):
        write_onnx(tmp_path / "model.onnx", backbone, SHAPE)
    assert not list(tmp_path.iterdir())


@needs_onnx
def test_what_cannot_be_written_is_refused_before_tracing(tmp_path: Path) -> None:
    backbone = load_backbone("da3-tiny", weights="random")
    with pytest.raises(InputError, match="multiples of 14"):
        write_onnx(tmp_path / "model.onnx", backbone, Shape(views=1, height=28, width=50))
    with pytest.raises(InputError, match="views=0; it must be at least 1"):
        Shape(views=0, height=28, width=28)
    backbone.to(torch.bfloat16)
    with pytest.raises(InputError, match=r"backbone=torch.bfloat16 on cpu; .*backbone.float"):
        write_onnx(tmp_path / "model.onnx", backbone, SHAPE)


def test_a_missing_package_is_named_as_pip_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(InputError, match=r"onnx=onnxscript missing; .*: pip install onnxscript$"):
        onnx.check_packages()
