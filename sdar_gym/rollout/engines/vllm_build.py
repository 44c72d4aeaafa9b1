"""Builds the vLLM engine: its options by placement, from the settings of a run.

Without tensor parallelism the model is in this process; with it, vLLM starts a process for each GPU.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from transformers import PreTrainedConfig

from sdar_gym.configs.sections import RolloutSettings, VllmSettings
from sdar_gym.extras import installed_vllm
from sdar_gym.policy.chat import unusable_ids
from sdar_gym.policy.context_length import context_length
from sdar_gym.policy.load import load_generation_config, load_model, load_model_config, stop_token_ids
from sdar_gym.policy.model_source import policy_source
from sdar_gym.policy.sizing import empty_model, set_threads, shape_of
from sdar_gym.rollout.engines.registry import EngineSpec
from sdar_gym.rollout.engines.vllm_checks import LORA_RANKS
from sdar_gym.rollout.engines.vllm_engine import VllmEngine
from sdar_gym.rollout.engines.vllm_process import process_state_kept, set_environment

# Rows of the head that a request can leave out. Source: vLLM 0.32, `v1/worker/gpu/sample/logit_bias.py`.
_MOST_FORBIDDEN_IDS = 1024

_MOST_SEQUENCES = 256
_BATCH_TOKENS = 8192
# Conversations of full length whose keys and values fit the CPU's memory for them.
_CPU_CONVERSATIONS = 64
_LEAST_KV_BYTES = 1 << 28


def from_spec(spec: EngineSpec) -> VllmEngine:
    """Loads the policy into vLLM.

    Args:
        spec: Model, settings and device.

    Raises:
        ValueError: The policy cannot be loaded, or its head has too many rows without a token.
    """
    policy = spec.policy
    source, config = policy_source(policy.model), load_model_config(policy.model)
    forbidden = unusable_ids(spec.tokenizer, config.get_text_config().vocab_size)
    if len(forbidden) > _MOST_FORBIDDEN_IDS:
        raise ValueError(
            f"rollout.engine=vllm leaves out at most {_MOST_FORBIDDEN_IDS} rows of the head, and {policy.model!r} has "
            f"{len(forbidden)} without a token: resize its embeddings, or use rollout.engine=transformers."
        )
    outline, on_cpu = empty_model(config), spec.device.type == "cpu"
    if on_cpu:
        set_threads(policy.torch_threads, outline, spec.processes)
    options = engine_options(spec, source.model, config)
    set_environment(on_cpu)
    with process_state_kept():
        from vllm import LLM  # pyright: ignore[reportMissingImports]

        llm = LLM(**options)
    generation = load_generation_config(policy.model, config)
    engine = VllmEngine(
        llm,
        outline,
        stop_ids=stop_token_ids(generation, spec.tokenizer, spec.rollout.chat_template_kwargs),
        forbidden_ids=forbidden,
        lora=policy.lora,
        in_process=options["distributed_executor_backend"] == "uni",
        can_sleep=options["enable_sleep_mode"],
        llm_version=installed_vllm()[0],
    )
    if source.adapters is not None:
        engine.update_base(load_model(policy.model, policy.dtype).state_dict())
    return engine


def engine_options(spec: EngineSpec, model: str, config: PreTrainedConfig) -> dict[str, Any]:
    """The arguments of `vllm.LLM`.

    Args:
        spec: Settings, device and share of the GPU.
        model: Folder or hub name of the weights.
        config: The model's configuration.
    """
    settings = spec.rollout.vllm or VllmSettings()
    on_cpu, alone = spec.device.type == "cpu", spec.gpu_share >= 1
    longest = longest_sequence(spec.rollout, context_length(config))
    batch_tokens = max(_MOST_SEQUENCES, spec.rollout.max_batch_tokens or _BATCH_TOKENS)
    options: dict[str, Any] = {
        "model": model,
        "dtype": _dtype(spec.policy.dtype, config),
        "skip_tokenizer_init": True,
        "trust_remote_code": False,
        "use_tqdm_on_load": False,
        # Sampling is set by the caller alone, not by the model's generation settings.
        "generation_config": "vllm",
        "max_model_len": longest,
        "max_num_seqs": _MOST_SEQUENCES,
        "max_num_batched_tokens": batch_tokens,
        "logprobs_mode": "processed_logprobs",
        "enable_prefix_caching": True,
        "seed": 0,
        "tensor_parallel_size": settings.tensor_parallel_size,
        # Named: inside a Ray actor vLLM would choose Ray by itself.
        "distributed_executor_backend": "uni" if settings.tensor_parallel_size == 1 else "mp",
        "enforce_eager": on_cpu if settings.enforce_eager is None else settings.enforce_eager,
        "enable_sleep_mode": not on_cpu and not alone,
    }
    if not on_cpu:
        options["gpu_memory_utilization"] = settings.gpu_memory_utilization or 0.9 * spec.gpu_share
    else:
        # A prompt that is read in two parts takes its seeded draw back, which the CPU's random numbers do not allow.
        # The longest one has to fit beside a token of each other sequence, or it would wait for all of them to end.
        batch_tokens = max(batch_tokens, (longest or 0) + _MOST_SEQUENCES)
        options |= {"enable_chunked_prefill": False, "max_num_batched_tokens": batch_tokens}
        if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
            options["kv_cache_memory_bytes"] = _cpu_kv_bytes(config, longest)
    if spec.policy.lora is not None:
        rank = next(one for one in LORA_RANKS if one >= spec.policy.lora.r)
        options |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}
    return {name: value for name, value in options.items() if value is not None}


def longest_sequence(rollout: RolloutSettings, limit: int | None) -> int | None:
    """The longest sequence that the settings allow, in tokens; None leaves it to the model.

    Args:
        rollout: Lengths. A policy that acts with skills has the teacher's prompt.
        limit: The model's context length.
    """
    longest = max(rollout.max_prompt_tokens, rollout.teacher_prompt_limit) + rollout.max_response_tokens
    if rollout.context == "conversation":
        if rollout.max_context_tokens is None:
            return limit
        longest = max(longest, rollout.max_context_tokens)
    return longest if limit is None else min(longest, limit)


def _dtype(name: str, config: PreTrainedConfig) -> str:
    """The precision by name; vLLM's own `auto` would take a model in single precision in float16."""
    if name != "auto":
        return name
    saved = config.get_text_config().dtype
    return str(saved or torch.float32).removeprefix("torch.")


def _cpu_kv_bytes(config: PreTrainedConfig, longest: int | None) -> int:
    """Memory for keys and values on the CPU: many conversations, and at most a quarter of the machine's."""
    shape = shape_of(empty_model(config))
    wanted = _CPU_CONVERSATIONS * (longest or 4096) * shape.layers * shape.kv * 4
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(_LEAST_KV_BYTES, min(wanted, memory // 4))
