"""The memory table of a plan: GB on each GPU by model size, way of training and number of GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from transformers import Qwen2Config

from sdar_gym.configs.sections import LoraSettings, PolicySettings
from sdar_gym.plan.memory import USABLE, logit_memory
from sdar_gym.plan.model_size import ModelSize, size_of
from sdar_gym.policy.learner_memory import HALF, Scheme, pass_memory, standing_memory, step_memory
from sdar_gym.policy.sizing import activation_bytes, empty_model

NUMBERS_OF_GPUS = (1, 2, 8)
MICRO_BATCH_TOKENS = 8_192
DDP, SHARDED, HALF_SHARDED, LORA = "DDP", "sharded", "sharded, half", "LoRA"
# Settings of each way of training, beside policy.dtype=bfloat16.
SCHEMES: Mapping[str, str] = {
    DDP: "resources.shard_optimizer=false",
    SHARDED: "the default with several learners",
    HALF_SHARDED: "that and policy.half_weights=true",
    LORA: "policy.lora={r: 16}",
}
# Source: config.json of Qwen2.5-{0.5B,1.5B,3B,7B}-Instruct: hidden size, intermediate size, layers, heads, heads of
# keys and values, vocabulary, whether embedding and head are tied.
_QWEN = {
    "0.5B": (896, 4864, 24, 14, 2, 151_936, True),
    "1.5B": (1536, 8960, 28, 12, 2, 151_936, True),
    "3B": (2048, 11_008, 36, 16, 2, 151_936, True),
    "7B": (3584, 18_944, 28, 28, 4, 152_064, False),
}


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """Memory of one model trained in one way, in bytes on each GPU.

    Attributes:
        model: Its size, or the configured model's name.
        parameters: Number of weights.
        scheme: One of `SCHEMES`.
        recomputed: Peak by number of GPUs with gradient checkpointing, the engine asleep or on other GPUs.
        kept: Peak by number of GPUs without gradient checkpointing.
        engine: What an engine beside the learner takes that does not sleep: its weights; keys and values come on top.
    """

    model: str
    parameters: int
    scheme: str
    recomputed: Mapping[int, float]
    kept: Mapping[int, float]
    engine: float

    def fits(self, gpus: int, memory: float) -> bool:
        """Whether it fits GPUs with gradient checkpointing; a tenth is left for the driver and fragmentation."""
        return self.recomputed[gpus] <= USABLE * memory

    def to_json(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)


def memory_rows(
    configured: ModelSize | None = None,
    name: str = "",
    policy: PolicySettings | None = None,
    micro_batch_tokens: int = MICRO_BATCH_TOKENS,
) -> list[MemoryRow]:
    """The table's rows: Qwen2.5 in four sizes, and the configured model.

    Args:
        configured: The configured model's sizes, if there is one.
        name: Its name.
        policy: Its settings: the rank of its adapters; all rows compute in bfloat16.
        micro_batch_tokens: Tokens of one forward and backward pass.
    """
    models = {size: qwen_size(size) for size in _QWEN}
    if configured is not None:
        models[name] = configured
    rank = policy.lora.r if policy is not None and policy.lora is not None else LoraSettings().r
    return [row_of(name, size, way, rank, micro_batch_tokens) for name, size in models.items() for way in SCHEMES]


def row_of(model: str, size: ModelSize, way: str, rank: int, micro_batch_tokens: int) -> MemoryRow:
    """One row.

    Args:
        model: Its name.
        size: Its sizes.
        way: One of `SCHEMES`.
        rank: Of adapters.
        micro_batch_tokens: Tokens of one forward and backward pass.
    """
    shape = size.shape

    def peak(gpus: int, recomputed: bool) -> float:
        scheme = Scheme(
            width=HALF,
            half_weights=way == HALF_SHARDED,
            adapters=rank * size.linear_ends if way == LORA else None,
            learners=gpus,
            sharded=way in (SHARDED, HALF_SHARDED),
        )
        return max(peaks_of(size, scheme, micro_batch_tokens, recomputed=recomputed))

    return MemoryRow(
        model,
        shape.parameters,
        way,
        recomputed={gpus: peak(gpus, True) for gpus in NUMBERS_OF_GPUS},
        kept={gpus: peak(gpus, False) for gpus in NUMBERS_OF_GPUS},
        engine=float(HALF * shape.parameters),
    )


def peaks_of(size: ModelSize, scheme: Scheme, micro_batch_tokens: int, *, recomputed: bool) -> tuple[float, float]:
    """The peaks of a learner's memory: in its passes, and in the optimizer's step.

    Args:
        size: The model's sizes.
        scheme: How it is trained.
        micro_batch_tokens: Tokens of one forward and backward pass.
        recomputed: Whether activations are recomputed.
    """
    standing = sum(standing_memory(size.shape, scheme).values())
    passes = sum(pass_memory(size.shape, scheme).values())
    passes += micro_batch_tokens * activation_bytes(size.shape, scheme.width, recomputed=recomputed)
    passes += logit_memory(size, micro_batch_tokens)
    return standing + passes, standing + step_memory(size.shape, scheme)


@lru_cache(maxsize=len(_QWEN))
def qwen_size(size: str) -> ModelSize:
    """The sizes of a Qwen2.5 model, `0.5B` to `7B`."""
    hidden, intermediate, layers, heads, kv_heads, vocabulary, tied = _QWEN[size]
    config = Qwen2Config(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
    )
    return size_of(empty_model(config))
