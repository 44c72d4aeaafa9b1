"""Seconds of a plan: operations at an assumed share of the peak, decoding at an assumed share of the bandwidth."""

from __future__ import annotations

from dataclasses import dataclass

from sdar_gym.plan.gpus import Efficiency, Gpu
from sdar_gym.plan.model_size import ModelSize
from sdar_gym.plan.work import Work

# Assumed time of a decoding step beside its memory traffic. The transformers engine runs layer by layer from Python:
# 25 ms for the 28 layers of Qwen2.5-1.5B. Engines with CUDA graphs need a few milliseconds for scheduling and sampling.
EAGER_SECONDS_PER_LAYER = 0.9e-3
STEP_SECONDS = 4e-3
EAGER_ENGINES = frozenset({"transformers"})


@dataclass(frozen=True, slots=True)
class Decoding:
    """How responses are decoded.

    Attributes:
        concurrent: Episodes that are decoded at the same time.
        steps: Decoding steps of all of them.
        step_seconds: Time of one step.
        context: Tokens before a sampled one, on average.
    """

    concurrent: float
    steps: float
    step_seconds: float
    context: float

    @property
    def seconds(self) -> float:
        """Time of all steps."""
        return self.steps * self.step_seconds


def step_overhead(engine: str, size: ModelSize, efficiency: Efficiency) -> float:
    """Seconds of a decoding step that do not depend on its size."""
    if efficiency.step_seconds is not None:
        return efficiency.step_seconds
    return EAGER_SECONDS_PER_LAYER * size.shape.layers if engine in EAGER_ENGINES else STEP_SECONDS


def compute_seconds(flops: float, gpu: Gpu, efficiency: Efficiency) -> float:
    """Time of matrix products."""
    return flops / (gpu.flops * efficiency.mfu)


def decoding(
    work: Work,
    size: ModelSize,
    gpu: Gpu,
    efficiency: Efficiency,
    *,
    concurrent: float,
    longest: float,
    width: int,
    overhead: float,
) -> Decoding:
    """Steps and time of decoding.

    A step reads all weights once, and keys and values of every episode that is decoded; it takes as long as the memory
    or the matrix products need, whichever is longer, and the overhead.

    Args:
        work: Of all responses.
        size: The model's sizes.
        gpu: Peaks.
        efficiency: Shares of them.
        concurrent: Episodes that are decoded at the same time.
        longest: Sampled tokens of the longest episode: its steps follow one another.
        width: Bytes per number.
        overhead: Seconds of a step beside that.
    """
    if not work.tokens:
        return Decoding(concurrent, 0.0, overhead, 0.0)
    steps = max(work.tokens / concurrent, longest)
    at_once = work.tokens / steps
    context = work.pairs / work.tokens
    moved = width * (size.body + size.head + at_once * context * size.shape.layers * size.shape.kv)
    memory = moved / (gpu.bandwidth * efficiency.bandwidth)
    compute = compute_seconds(work.flops(size) / steps, gpu, efficiency)
    return Decoding(concurrent, steps, max(memory, compute) + overhead, context)
