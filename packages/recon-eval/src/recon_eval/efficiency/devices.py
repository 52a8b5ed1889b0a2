"""What GPUs can do at most, from their makers' tables: the two limits of a roofline."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Device:
    """Peak rates of one GPU, dense (no sparsity), with products summed in float32.

    - `bytes_per_second`: of its memory. `memory_bytes`: how much there is.
    - `bf16`, `fp8`: operations a second in tensor cores; fp8 None where it multiplies none.
    - `fp32`: operations a second outside of tensor cores.
    - `cache_bytes`, `cache_bytes_per_second`: of the cache that all processors share; 0 where its
      rate is not known, so that nothing is taken to come from it.
    - `source`: the maker's document.
    """

    name: str
    bytes_per_second: float
    memory_bytes: float
    bf16: float
    fp8: float | None
    fp32: float
    source: str
    cache_bytes: float = 0.0
    cache_bytes_per_second: float = 0.0


CACHE_READS = 5120
"""Bytes a cycle that A100's processors read from its second-level cache at most (NVIDIA A100 Tensor
Core GPU Architecture, 2020). Hopper's is taken to be the same at its clock: assumed."""

DEVICES = {
    device.name: device
    for device in (
        Device(
            name="A100", bytes_per_second=2.039e12, memory_bytes=80e9, bf16=312e12, fp8=None,
            fp32=19.5e12, source="NVIDIA A100 80GB SXM datasheet",
            cache_bytes=40e6, cache_bytes_per_second=CACHE_READS * 1.41e9,
        ),
        Device(
            name="H100", bytes_per_second=3.35e12, memory_bytes=80e9, bf16=989e12, fp8=1979e12,
            fp32=67e12, source="NVIDIA H100 SXM datasheet; dense is half of the figures there",
            cache_bytes=50e6, cache_bytes_per_second=CACHE_READS * 1.7e9,
        ),
        Device(
            name="H200", bytes_per_second=4.8e12, memory_bytes=141e9, bf16=989e12, fp8=1979e12,
            fp32=67e12, source="NVIDIA H200 SXM datasheet; dense is half of the figures there",
            cache_bytes=50e6, cache_bytes_per_second=CACHE_READS * 1.7e9,
        ),
        Device(
            name="B200", bytes_per_second=8e12, memory_bytes=180e9, bf16=2250e12, fp8=4500e12,
            fp32=75e12, source="NVIDIA HGX B200 datasheet, an eighth of the board",
        ),
        Device(
            name="L4", bytes_per_second=0.3e12, memory_bytes=24e9, bf16=121e12, fp8=242e12,
            fp32=30.3e12, source="NVIDIA L4 datasheet; dense is half of the figures there",
        ),
        Device(
            name="RTX 4090", bytes_per_second=1.008e12, memory_bytes=24e9, bf16=165e12,
            fp8=330e12, fp32=82.6e12, source="NVIDIA Ada architecture whitepaper, appendix A",
        ),
    )
}  # fmt: skip
