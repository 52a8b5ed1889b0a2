"""The kernel, in Triton's interpreter, against the reference operations."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from fp8_qat import Spec, dequantize, recipes
from fp8_qat.fused import gelu_quantize, layer_norm_quantize, op, quantize_activation
from fp8_qat.numerics.formats import E4M3, E5M2, decode, encode

pytest.importorskip("triton", reason="the kernel needs Triton: pip install 'fp8-qat[triton]'")
RULES = ["divide", "multiply", "multiply_pow2", "reciprocal", "reciprocal_pow2", "mx_rceil"]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def hard(rows: int, columns: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator) * 10
    x *= torch.randn(columns, generator=generator).exp()
    x[0] = 0.0
    x[-1] *= 1e-30
    x[rows // 2, 0] = 448.0
    if seed % 3 == 0:
        x[0, -1], x[-1, 0] = torch.nan, -torch.inf
    return x.to(dtype).to(DEVICE)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 300),
    st.sampled_from(RULES),
    st.sampled_from(["row", (1, 32), (1, 128)]),
    st.sampled_from(["e4m3", "e5m2"]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.integers(0, 2**31),
)
def test_kernel_bytes_equal_the_reference(
    rows, columns, rule, granularity, format, dtype, seed
) -> None:
    spec = Spec(rule=rule, granularity=granularity, format=format)
    x = hard(rows, columns, dtype, seed)
    ours = quantize_activation(x, spec, backend="triton")
    theirs = quantize_activation(x, spec, backend="reference")
    assert torch.equal(ours.scale.nan_to_num(-1.0), theirs.scale.nan_to_num(-1.0))
    number = ~dequantize(theirs).isnan()  # the interpreter casts NaN to some number
    assert torch.equal(ours.bytes[number], theirs.bytes[number])


def test_a_norm_may_be_a_view_of_more_numbers() -> None:
    x, spec = torch.randn(3, 40, device=DEVICE), Spec(granularity="row")
    weight, bias = torch.randn(2, 80, device=DEVICE)[:, ::2]
    ours = layer_norm_quantize(x, weight, bias, spec, backend="triton")
    theirs = layer_norm_quantize(x, weight.contiguous(), bias.contiguous(), spec, backend="triton")
    assert torch.equal(ours.scale, theirs.scale) and torch.equal(ours.bytes, theirs.bytes)


def test_the_kernel_is_launched_on_the_device_of_its_tensors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Triton launches on the current device, which need not be that of the tensors."""
    current: list[torch.Tensor] = []
    launched: list[torch.device] = []

    @contextmanager
    def device_of(x: torch.Tensor) -> Iterator[None]:
        current.append(x)
        yield
        current.pop()

    class Kernel:
        def __getitem__(self, grid: object) -> Callable[..., None]:
            return lambda *_, **__: launched.append(current[-1].device)

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    monkeypatch.setattr(op, "_interpreted", lambda: True)
    monkeypatch.setattr(op, "_quantize_rows_kernel", Kernel())
    x = torch.randn(3, 64, device=DEVICE)
    quantize_activation(x, recipes.rowwise().activation, backend="triton")
    assert launched == [x.device]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("rule", RULES)
def test_the_sign_of_a_nan_changes_no_scale(rule: str, sign: float) -> None:
    spec = Spec(rule=rule, granularity=(1, 32))
    x = torch.full((1, 33), 2.0, device=DEVICE)
    x[0, 32] = torch.copysign(torch.tensor(torch.nan), torch.tensor(sign))
    found = [quantize_activation(x, spec, backend=name).scale for name in ("triton", "reference")]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0, equal_nan=True)


def test_kernel_reads_strided_rows_and_nothing_before_it_is_written(poisoned_empty) -> None:
    x = hard(6, 512, torch.float32, 0)[::2, :200]
    for spec in (Spec(), recipes.block().activation):
        ours = quantize_activation(x, spec, backend="triton")
        theirs = quantize_activation(x, spec, backend="reference")
        assert torch.equal(ours.bytes, theirs.bytes) and torch.equal(ours.scale, theirs.scale)


def difference(ours, theirs) -> float:
    """Relative; a value beside a rounding boundary may have got the neighboring code."""
    a, b = dequantize(ours), dequantize(theirs)
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("columns", [192, 320])
@pytest.mark.parametrize("name", ["rowwise", "block", "mxfp8"])
def test_layer_norm_and_gelu_fuse(name: str, columns: int, dtype: torch.dtype) -> None:
    spec = recipes.by_name(name).activation
    x = (torch.randn(7, columns) * 3 + 1).to(dtype).to(DEVICE)
    weight, bias = torch.rand(columns, device=DEVICE) + 0.5, torch.randn(columns, device=DEVICE)
    ours = layer_norm_quantize(x, weight, bias, spec, backend="triton")
    limit = 2e-3 if dtype == torch.float32 else 6e-3
    theirs = layer_norm_quantize(x, weight, bias, spec, backend="reference")
    assert difference(ours, theirs) < limit
    activated = gelu_quantize(x, spec, backend="triton")
    assert difference(activated, gelu_quantize(x, spec, backend="reference")) < limit
    normed = F.layer_norm(x.float(), (columns,), weight, bias, 1e-6)
    assert (dequantize(ours) - normed).norm() < 0.04 * normed.norm()


def test_what_the_kernel_does_not_cover_is_refused(monkeypatch) -> None:
    x = torch.randn(3, 40, device=DEVICE)
    for spec in (Spec(granularity="tensor"), Spec(granularity=(1, 5)), Spec(rule="double")):
        with pytest.raises(ValueError, match="the kernel covers dynamic scales"):
            quantize_activation(x, spec, backend="triton")
    with pytest.raises(ValueError, match="choose one of auto, reference, triton"):
        quantize_activation(x, Spec(), backend="cuda")
    monkeypatch.setattr(op, "INSTALLED", False)
    with pytest.raises(ValueError, match="it needs Triton, which is not installed"):
        quantize_activation(x, Spec(), backend="triton")


def test_auto_is_the_reference_on_a_cpu() -> None:
    x = torch.randn(3, 40)
    assert op._chosen(x, Spec(), "auto") == "reference"


@pytest.mark.parametrize("devices", [(89, 90), pytest.param((100, 120), marks=pytest.mark.nightly)])
def test_the_kernel_compiles_for_every_device_with_fp8_and_spills_nowhere(
    tmp_path, devices
) -> None:
    out = tmp_path / "compiled.json"
    program = Path(__file__).parents[2] / "benchmarks" / "compiled_kernels.py"
    command = ["env", "-u", "TRITON_INTERPRET", sys.executable, str(program)]
    command += ["--columns", "1024", "--sm", *map(str, devices), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(out.read_text())["rows"]
    assert {row["sm"] for row in rows} == set(devices) and len(rows) == 18
    for row in rows:
        assert row["fp8_casts_sass"] and not row["spill_instructions"] + row["local_bytes"], row
        assert row["widest_load_bits"] == 128 and row["registers"] <= 64, row


@pytest.mark.parametrize("format", [E4M3, E5M2], ids=lambda format: format.name)
def test_a_rounded_value_survives_a_cast_by_way_of_float16(format) -> None:
    codes = torch.arange(256, dtype=torch.uint8).view(format.dtype)
    values = decode(codes, format)
    assert torch.equal(values.half().float().nan_to_num(), values.nan_to_num())
    beside_a_tie = torch.tensor([1.0 + 2.0 ** -(format.mantissa_bits + 1) + 2.0**-20])
    truncated = (beside_a_tie.view(torch.int32) & ~0x1FFF).view(torch.float32)
    assert encode(truncated, format).float() == 1.0 != encode(beside_a_tie, format).float()
    assert op.rounds_first(89) and not op.rounds_first(90)
