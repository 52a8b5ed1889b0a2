"""The benchmark command: what it times and what it refuses to time."""

import json
import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).parents[1] / "benchmarks" / "bench.py"
STAND_IN = '''
"""Stands in for thu-ml/SLA: the same arguments, computed by this package."""
from sla_kernels import SparseLinearAttention as Ours
from torch import nn


class SparseLinearAttention(nn.Module):
    def __init__(self, head_dim, topk, feature_map="softmax", BLKQ=64, BLKK=64, use_bf16=True):
        super().__init__()
        assert not use_bf16
        self.ours = Ours(head_dim, keep=topk, block=(BLKQ, BLKK), feature_map=feature_map)
        self.wrong = head_dim == 32

    def forward(self, q, k, v):
        return self.ours(q, k, v) * (2 if self.wrong else 1)
'''


def run(folder: Path, *arguments: str) -> dict:
    """Time a stand-in for thu-ml/SLA alone."""
    package, out = folder / "sparse_linear_attention", folder / "out.json"
    package.mkdir()
    (package / "__init__.py").write_text(STAND_IN)
    few = ["--tokens", "200", "--heads", "1", "--keep", "0.3", "--dtype", "fp32"]
    skipped = ["--repetitions", "2", "--skip", "dense", "flex", "ours", "--out", str(out)]
    command = ["env", f"PYTHONPATH={folder}", sys.executable, str(COMMAND), *few, *skipped]
    subprocess.run([*command, *arguments], check=True, capture_output=True)
    (entry,) = json.loads(out.read_text())["entries"]
    return entry


def test_an_importable_thu_ml_module_is_timed(tmp_path: Path) -> None:
    entry = run(tmp_path)
    assert entry["contender"] == "thu-ml/module" and entry["error"] < 1e-5
    for step in ("forward", "forward_backward"):
        assert len(entry[step]["seconds"]) == 2 and entry[step]["median"] > 0
        assert entry[step]["peak_bytes"] >= 0 and entry[step]["tflops_kept"] > 0


def test_what_computes_something_else_is_not_timed(tmp_path: Path) -> None:
    entry = run(tmp_path, "--width", "32")
    assert "refused" in entry and "forward" not in entry
