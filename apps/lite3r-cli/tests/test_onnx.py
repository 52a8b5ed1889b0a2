"""ONNX graphs of students and teachers: onnxruntime answers what PyTorch does."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lite3r import Recipe, lighten, load
from lite3r.student.graph import GRAPH
from lite3r.student.recipes import tiles
from recon_backbones import DenseAttention, load_backbone, replace_attention
from recon_backbones.export.onnx import NEEDED
from recon_backbones.program import FIELDS
from sla_kernels import written_out

MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed")
pytestmark = pytest.mark.usefixtures("short")
SHAPE = ("--views", "2", "--height", "28", "--width", "42")


@pytest.fixture
def student(tmp_path: Path) -> Path:
    teacher, images = load_backbone("da3-tiny", weights="random"), torch.rand(1, 2, 3, 56, 56)
    lighten(teacher, Recipe(keep=2), calibrate=images).save(tmp_path / "run")
    return tmp_path / "run"


@needs_onnx
def test_a_students_graph_answers_as_it_does_with_dense_attention_and_holds_no_fp8(
    lite3r: Any, student: Path
) -> None:
    import onnxruntime

    done = lite3r("export", student, "--out", "graph", "--to", "onnx", *SHAPE, "--dense", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["outputs"] == list(FIELDS)
    assert told["shape"] == {"views": 2, "height": 28, "width": 42}
    assert [path.name for path in Path("graph").iterdir()] == [GRAPH]
    assert told["bytes"] == (Path("graph") / GRAPH).stat().st_size
    images = torch.rand(1, 2, 3, 28, 42, generator=torch.Generator().manual_seed(3))
    stored = load(student, backend="weight_only", precision="float32").backbone
    replace_attention(stored, lambda site: DenseAttention())
    with torch.inference_mode():
        wanted = stored(images)
    session = onnxruntime.InferenceSession(
        str(Path("graph") / GRAPH), providers=["CPUExecutionProvider"]
    )
    found = session.run(["depth", "intrinsics"], {"images": images.numpy()})
    for given, expected in zip(found, (wanted.depth, wanted.intrinsics), strict=True):
        torch.testing.assert_close(torch.from_numpy(given), expected, rtol=2e-3, atol=2e-3)


@needs_onnx
def test_attention_that_sorts_tokens_is_refused_with_the_way_out(
    lite3r: Any, student: Path
) -> None:
    done = lite3r("export", student, "--out", "graph", "--to", "onnx", *SHAPE)
    assert done.code == 2
    assert "sorts tokens by their keys" in done.err and "add --dense" in done.err
    assert not Path("graph").exists()


@needs_onnx
def test_attention_that_chooses_tiles_is_said_in_onnx(tmp_path: Path) -> None:
    """Of a student of the recipe "tiles", with tokens that every query attends."""
    import onnxruntime

    attention = tiles().attention(32).eval()
    attention.backend = "reference"
    nn.init.normal_(attention.proj_l.weight)

    class Network(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attention(q, k, v, pinned=torch.tensor([0, 40]))

    given = tuple(torch.randn(1, 2, 80, 32) for _ in range(3))
    with torch.no_grad(), written_out():
        graph = torch.export.export(Network(), given, strict=False)
        torch.onnx.export(graph, given, tmp_path / "a.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(
        str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_inputs()]
    (found,) = session.run(None, {n: x.numpy() for n, x in zip(names, given, strict=True)})
    torch.testing.assert_close(torch.from_numpy(found), attention(*given, torch.tensor([0, 40])))


def test_what_only_a_graph_can_be_is_refused_for_other_kinds(lite3r: Any) -> None:
    for more in (("teacher",), ("run", "--dense")):
        done = lite3r("export", *more, "--out", "graph")
        assert done.code == 2
        assert "kind=deployed; teacher and --dense need onnx" in " ".join(
            (done.out + done.err).split()
        )


@needs_onnx
def test_a_shape_that_does_not_fit_is_refused(lite3r: Any) -> None:
    teacher = ("export", "teacher", "--weights", "random", "--out", "graph", "--to", "onnx")
    done = lite3r(*teacher, "--height", "50")
    assert done.code == 2
    assert "multiples of 14" in done.err
    assert not Path("graph").exists()
