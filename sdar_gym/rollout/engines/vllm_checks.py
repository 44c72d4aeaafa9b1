"""What the vLLM engine refuses before Ray starts, without importing vLLM: versions, builds, limits."""

from __future__ import annotations

from transformers import PreTrainedConfig

from sdar_gym.configs.sections import PolicySettings
from sdar_gym.extras import (
    VLLM_CPU,
    VLLM_MINOR,
    MissingExtraError,
    install_command,
    installed_vllm,
    missing_modules,
    require,
)
from sdar_gym.policy.load import load_model_config

# Ranks of adapters that vLLM reserves room for. Source: vLLM 0.32, `config/lora.py`.
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# Source: vLLM 0.32, `v1/attention/backends/cpu_attn.py`.
_CPU_HEAD_WIDTHS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)


def check_settings(policy: PolicySettings, *, on_gpu: bool) -> None:
    """Refuses what would fail only when the engine is built, without importing vLLM.

    Args:
        policy: Model, precision, device and adapters.
        on_gpu: Whether the engine will have a GPU.

    Raises:
        MissingExtraError: vLLM is not installed.
        ValueError: Another version or build of it is, or a setting does not fit it.
    """
    if not on_gpu and missing_modules("vllm"):
        raise MissingExtraError(f"rollout.engine=vllm needs vLLM's build for the CPU where no GPU is used: {VLLM_CPU}.")
    require("vllm", "rollout.engine=vllm")
    found, for_cpu = installed_vllm()
    if not found.startswith(VLLM_MINOR):
        raise ValueError(
            f"rollout.engine=vllm works with vLLM {VLLM_MINOR}*, and {found or 'an unknown version'} is installed: "
            f"{install_command('vllm') if on_gpu else VLLM_CPU}."
        )
    if on_gpu and for_cpu:
        raise ValueError(
            f"rollout.engine=vllm has a GPU, and the installed vLLM {found} is built for the CPU: set "
            f"policy.device=cpu, or install the other one, {install_command('vllm')}."
        )
    if not on_gpu and not for_cpu:
        raise ValueError(
            f"rollout.engine=vllm has no GPU, and the installed vLLM {found} is built for GPUs: install the other one, "
            f"{VLLM_CPU}."
        )
    if policy.device.startswith("cuda:") and policy.device != "cuda:0":
        raise ValueError(
            f"rollout.engine=vllm takes the first visible GPU, and policy.device={policy.device}: set "
            f"CUDA_VISIBLE_DEVICES={policy.device.partition(':')[2]} and policy.device=cuda."
        )
    if policy.dtype == "float64":
        raise ValueError("rollout.engine=vllm has no policy.dtype=float64: use float32 or bfloat16.")
    if policy.lora is not None and policy.lora.r > LORA_RANKS[-1]:
        raise ValueError(
            f"rollout.engine=vllm takes adapters up to rank {LORA_RANKS[-1]}, and policy.lora.r={policy.lora.r}."
        )
    width = _head_width(load_model_config(policy.model))
    if not on_gpu and width not in _CPU_HEAD_WIDTHS:
        raise ValueError(
            f"rollout.engine=vllm cannot run policy.model={policy.model!r} on the CPU: its attention heads are {width} "
            f"wide, and vLLM's CPU attention has kernels for {', '.join(map(str, _CPU_HEAD_WIDTHS))}. Use "
            "rollout.engine=transformers."
        )


def _head_width(config: PreTrainedConfig) -> int:
    text = config.get_text_config()
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
