"""Scales and bytes against the public formulas, written out in NumPy and ml_dtypes."""

import ml_dtypes
import numpy as np
import pytest
import torch

from fp8_qat import Spec, quantize
from fp8_qat.numerics.scales import exponents_of, scale_of

RULES = ["divide", "multiply", "multiply_pow2", "reciprocal", "reciprocal_pow2"]
RULES += ["double", "double_pow2", "mx_rceil", "mx_floor"]
PUBLIC = {"e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2}


def f32(x: object) -> np.ndarray:
    return np.asarray(x, dtype=np.float32)


def plain_scale(rule: str, amax: np.ndarray, fmax: float, largest: float) -> np.ndarray:
    """The scale rules written out in NumPy, one number at a time."""
    with np.errstate(all="ignore"):
        if rule == "divide":
            scale = f32(amax / f32(fmax))
            return np.where(scale == 0, f32(1), scale)
        if rule.startswith("multiply") or rule.startswith("double"):
            if rule.startswith("double"):
                m = f32(np.float64(fmax) / np.maximum(amax.astype(np.float64), 1e-12))
            else:
                m = f32(f32(fmax) / amax)
                m = np.where((amax == 0) | ~np.isfinite(amax), f32(1), m)
                m = np.where(np.isinf(m), f32(largest), m)
            if rule.endswith("pow2"):
                m = (m.view(np.uint32) & np.uint32(0xFF800000)).view(np.float32)
            return f32(f32(1) / m)
        scale = f32(np.maximum(amax, f32(1e-4)) / f32(fmax))
        if rule == "reciprocal_pow2":
            u = scale.view(np.uint32)
            e = np.clip((u >> 23).astype(int) + ((u & 0x7FFFFF) != 0), 1, 254)
            scale = (e.astype(np.uint32) << 23).view(np.float32)
        return scale


HARD = [0.0, 1e-45, 1e-40, 1.2e-38, 1e-30, 1e-12, 1e-4, 0.3, 1.0, 448.0, 449.0, 3e38, np.inf]


@pytest.mark.parametrize("rule", RULES[:7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fmax", ["e4m3", "e5m2"])
def test_scales_equal_plain_arithmetic(rule: str, dtype: torch.dtype, fmax: str) -> None:
    amax = torch.cat([torch.tensor(HARD), torch.rand(1000) * 10]).to(dtype).float()
    spec = Spec(rule=rule, format=fmax)
    ours = scale_of(amax, rule, spec.fp8, dtype).scale.numpy()
    theirs = plain_scale(rule, amax.numpy(), spec.fp8.max, torch.finfo(dtype).max)
    assert np.array_equal(ours, theirs)


def plain_e8m0(rule: str, amax: float, spec: Spec) -> int:
    """Exponents by exact arithmetic on float64, where every float32 is normal."""
    if rule == "mx_floor":
        if amax == 0:
            return 0
        if np.isinf(amax):
            return 255 - spec.fp8.max_exponent
        floor = int(np.frexp(amax)[1]) - 1
        return max(0, (floor + 127 if floor >= -126 else 0) - spec.fp8.max_exponent)
    target = float(np.float32(np.float32(amax) * np.float32(1 / spec.fp8.max)))
    if np.isinf(target):
        return 254
    if target <= 2.0**-127:
        return 0
    mantissa, exponent = np.frexp(target)  # target = mantissa * 2^exponent, 0.5 <= mantissa < 1
    return min(254, int(exponent) - (mantissa == 0.5) + 127)


@pytest.mark.parametrize("rule", ["mx_rceil", "mx_floor"])
@pytest.mark.parametrize("format", ["e4m3", "e5m2"])
def test_mx_exponents_equal_exact_logarithms(rule: str, format: str) -> None:
    spec = Spec(rule=rule, format=format, granularity=(1, 32))
    powers = [2.0**e * m for e in range(-140, 128, 7) for m in (1.0, 1.5, 1.75, 1.999)]
    edges = [spec.fp8.max * 2.0**e * (1 + ulps * 2.0**-24) for e in (-9, 0, 9) for ulps in range(8)]
    amax = torch.tensor(HARD + powers + edges)
    ours = exponents_of(scale_of(amax, rule, spec.fp8, torch.float32).scale)
    assert ours.tolist() == [plain_e8m0(rule, a, spec) for a in amax.tolist()]


def test_exponent_bytes_are_those_of_e8m0() -> None:
    powers = torch.tensor([*(2.0 ** (e - 127) for e in range(255)), torch.nan])
    assert torch.equal(exponents_of(powers), torch.arange(256, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"scale=\[3\.0\]; each must be a power of two"):
        exponents_of(torch.tensor([3.0]))
    for scales in ([2.0, 3.0], [0.0], [float("inf")], [-2.0]):
        with pytest.raises(ValueError, match="each must be a power of two"):
            exponents_of(torch.tensor(scales))


def plain_block(x: np.ndarray, spec: Spec, largest: float) -> tuple[np.ndarray, float]:
    """Bytes and scale of the values that share one scale."""
    amax = np.abs(x).max()
    with np.errstate(all="ignore"):
        if spec.rule.startswith("mx"):
            biased = plain_e8m0(spec.rule, float(amax), spec)
            scale, multiplier = np.ldexp(1.0, biased - 127), f32(np.ldexp(1.0, 127 - biased))
            scaled = f32(x * multiplier)
        else:
            scale = plain_scale(spec.rule, amax[None], spec.fp8.max, largest)[0]
            if spec.rule == "divide":
                scaled = f32(x / scale)
            else:
                scaled = f32(x * plain_multiplier(spec.rule, amax[None], scale, spec, largest))
    clipped = np.clip(scaled, -spec.fp8.max, spec.fp8.max)
    return clipped.astype(PUBLIC[spec.format]).view(np.uint8), float(scale)


def plain_multiplier(rule: str, amax, scale, spec: Spec, largest: float) -> np.ndarray:
    """What a value is multiplied with: 1 / s where s comes first, and m where m does."""
    if rule.startswith("reciprocal"):
        return f32(f32(1) / scale)
    if rule.startswith("double"):
        m = f32(np.float64(spec.fp8.max) / np.maximum(amax.astype(np.float64), 1e-12))
    else:
        usable = (amax > 0) & np.isfinite(amax)
        m = np.where(usable, f32(f32(spec.fp8.max) / amax), f32(1))
        m = np.where(np.isinf(m), f32(largest), m)
    return f32((m.view(np.uint32) & 0xFF800000).view(np.float32) if rule.endswith("pow2") else m)


def hard_matrix(dtype: torch.dtype) -> torch.Tensor:
    """Zeros, infinities, subnormals, huge and tiny rows; tails in every block shape."""
    x = torch.randn(131, 205) * torch.randn(205).exp()
    x[1], x[2, ::3], x[3] = 0.0, -0.0, 1e-40
    x[4, 7], x[5, 200], x[6, 0] = torch.inf, -torch.inf, 1e-45
    x[7], x[8], x[130, 204] = x[7] * 1e37, x[8] * 1e-36, 448.0
    return x.to(dtype)


@pytest.mark.parametrize("granularity", ["tensor", "row", (1, 32), (1, 128), (128, 128)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("format", ["e4m3", "e5m2"])
@pytest.mark.parametrize("rule", RULES)
def test_bytes_and_scales_equal_the_formula_on_hard_values(
    rule: str, format: str, dtype: torch.dtype, granularity
) -> None:
    spec = Spec(rule=rule, format=format, granularity=granularity)
    x = hard_matrix(dtype)
    if granularity == "tensor":
        x = x[torch.isfinite(x).all(1)]  # or one scale of infinity is all there is to see
    quantized = quantize(x, spec)
    ours, scales = quantized.bytes.numpy(), quantized.scale.numpy()
    plain, largest = x.float().numpy(), torch.finfo(dtype).max
    r, c = {"tensor": plain.shape, "row": (1, plain.shape[1])}.get(granularity, granularity)
    for i, j in np.ndindex(scales.shape):
        where = slice(i * r, i * r + r), slice(j * c, j * c + c)
        theirs, scale = plain_block(plain[where], spec, largest)
        assert scales[i, j] == np.float32(scale), (i, j)
        number = ~np.isnan(theirs.view(PUBLIC[format]).astype(np.float32))
        assert np.array_equal(ours[where][number], theirs[number]), (i, j)
        assert np.isnan(ours[where][~number].view(PUBLIC[format]).astype(np.float32)).all()
