"""GPUs with their published peaks, and the shares of them that a plan assumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sdar_gym.settings import did_you_mean


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU by its data sheet.

    Attributes:
        name: Its name.
        flops: Peak of dense bfloat16 matrix products with single-precision sums, in operations a second; data sheets
            that state it with sparsity state twice as much.
        bandwidth: Memory bandwidth, in bytes a second.
        memory: Memory, in bytes.
        source: Where the numbers are from.
    """

    name: str
    flops: float
    bandwidth: float
    memory: float
    source: str


GPUS: Mapping[str, Gpu] = {
    gpu.name: gpu
    for gpu in (
        Gpu("H100", 989.4e12, 3.35e12, 80e9, "NVIDIA H100 data sheet, SXM: 1,979 TFLOP/s with sparsity, 3.35 TB/s"),
        Gpu("H200", 989.4e12, 4.8e12, 141e9, "NVIDIA H200 data sheet, SXM: 1,979 TFLOP/s with sparsity, 4.8 TB/s"),
        Gpu("A100", 312e12, 2.039e12, 80e9, "NVIDIA A100 data sheet, SXM 80 GB: 312 TFLOP/s, 2,039 GB/s"),
        Gpu("L40S", 362.05e12, 0.864e12, 48e9, "NVIDIA L40S data sheet: 362.05 TFLOP/s, 864 GB/s"),
        Gpu("RTX4090", 165.2e12, 1.008e12, 24e9, "NVIDIA Ada architecture paper, RTX 4090: 165.2 TFLOP/s, 1,008 GB/s"),
    )
}


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Assumed shares of the peaks.

    Attributes:
        mfu: Share of the peak operations that scoring, gradients and prefill reach (model FLOPs utilization).
        bandwidth: Share of the memory bandwidth that decoding reaches.
        step_seconds: Time of a decoding step that does not depend on its size; None for the engine's own.
    """

    mfu: float = 0.3
    bandwidth: float = 0.6
    step_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("mfu", "bandwidth"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ValueError(f"{name} is a share of the peak, above 0 and at most 1, got {value}.")


def gpu_of(name: str) -> Gpu:
    """A GPU by name.

    Raises:
        ValueError: It is not in the table.
    """
    known = {key.lower(): gpu for key, gpu in GPUS.items()}
    plain = name.lower().replace(" ", "").replace("-", "")
    if plain not in known:
        raise ValueError(f"No numbers of a GPU {name!r}.{did_you_mean(plain.upper(), GPUS)} Known: {', '.join(GPUS)}.")
    return known[plain]
