"""A student or a teacher as an ONNX graph: plain linear layers, sparse attention written out."""

from pathlib import Path

import fp8_qat
import sla_kernels
from lite3r.student.deploy import load
from lite3r.student.student import TeacherSpec
from recon_backbones import Backbone, DenseAttention, replace_attention
from recon_backbones.export import Shape, Written, write_onnx
from sla_kernels.select.choice import Choice

GRAPH, TEACHER = "model.onnx", "teacher"
SPARSE = 0.05  # of the median depth: where a choice of keys is near a tie, runtimes may differ


def to_write(model: str, *, backbone: str | None, weights: str | None) -> Backbone:
    """The network of a student's folder or of a teacher, on the CPU in float32, without FP8.

    FP8 weights are multiplied back; activations are not rounded, as with backend "weight_only".
    Raises ValueError for what cannot be loaded.
    """
    if model == TEACHER:
        return TeacherSpec.chosen(backbone, weights, 0).load().eval()
    student = load(model, weights=weights, backend="weight_only", precision="float32")
    return fp8_qat.dequantized(student.backbone).eval()


def write_graph(path: Path, backbone: Backbone, shape: Shape, *, dense: bool) -> Written:
    """Write, read back and compare; the backbone's attention is changed in place.

    - `dense`: put dense attention in place of sparse. Else the choice of blocks is written out in
      operators of ONNX, and scores of all queries and keys are held at once.

    Raises ValueError as `recon_backbones.export.write_onnx` does, and for attention that sorts
    tokens by their keys, which ONNX cannot say.
    """
    sparse = sla_kernels.SparseLinearAttention
    parts = [module for module in backbone.modules() if isinstance(module, sparse)]
    if dense:
        replace_attention(backbone, lambda site: DenseAttention())
        parts = []
    for part in parts:
        if not isinstance(part.choice, Choice):
            raise ValueError(
                "kind=onnx; attention must choose blocks of tokens as they come, and this student "
                "sorts tokens by their keys, for which ONNX has no operator: add --dense, which "
                "puts dense attention in its place, or use --kind program"
            )
        part.backend = "reference"
    if not parts:
        return write_onnx(path, backbone, shape)
    with sla_kernels.written_out():
        return write_onnx(path, backbone, shape, allowed=SPARSE)
