"""CPU and GPU resources of a run: distribution and checks before Ray starts.

Ray itself waits silently for resources that do not exist.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import floor

import ray

from sdar_gym.policy.device import choose_device


class ResourceError(ValueError):
    """More CPUs or GPUs are required than available."""


@dataclass(frozen=True, slots=True)
class Supply:
    """The available CPUs and GPUs.

    Attributes:
        cpus: Cores that Ray can assign.
        gpus: GPUs that Ray can assign.
        where: `this machine` or `the Ray cluster`, for messages.
    """

    cpus: float
    gpus: float
    where: str


@dataclass(frozen=True, slots=True)
class GpuShares:
    """GPUs of each process, a fraction if it shares one."""

    learner: float
    env_runner: float


def supply() -> Supply:
    """The resources that Ray can assign: those of the connected cluster, else those of this machine."""
    if ray.is_initialized():
        total = ray.cluster_resources()
        return Supply(total.get("CPU", 0.0), total.get("GPU", 0.0), "the Ray cluster")
    return Supply(float(os.cpu_count() or 1), float(visible_gpus()), "this machine")


def visible_gpus() -> int:
    """GPUs of this process; 0 where PyTorch is built without CUDA."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def share_gpus(
    device: str,
    gpus: float,
    *,
    num_env_runners: int,
    num_learners: int,
    per_env_runner: float | None,
    per_learner: float | None,
) -> GpuShares:
    """Chooses the GPU shares that are not set.

    A learner gets a whole GPU and remote runners share the others. If there are none, runners get half of the learners'
    GPUs. A runner or learner in the driver uses the driver's device and needs nothing from Ray.

    Args:
        device: `policy.device`.
        gpus: Number of available GPUs.
        num_env_runners: Remote runners; 0 plays in the driver.
        num_learners: Remote learners; 0 learns in the driver.
        per_env_runner: GPUs of one runner as set; None to choose.
        per_learner: GPUs of one learner as set; None to choose.
    """
    if device == "cpu":
        gpus = 0
    learners = max(1, num_learners)
    chosen_learner = per_learner
    if chosen_learner is None:
        crowded = num_env_runners > 0 and num_learners > 0 and per_env_runner is None and gpus <= learners
        chosen_learner = 0.0 if gpus < learners else 0.5 if crowded and learners == 1 else 1.0
    chosen_runner = per_env_runner
    if chosen_runner is None:
        left = gpus - learners * chosen_learner
        if num_env_runners == 0 or gpus == 0:
            chosen_runner = 0.0
        elif left >= num_env_runners:
            chosen_runner = 1.0
        elif left > 0:
            chosen_runner = floor(100 * left / num_env_runners) / 100
        else:
            # A learner in the driver takes its GPU without Ray, which can assign the same one to runners in parts.
            chosen_runner = floor(50 / num_env_runners) / 100 if num_learners == 0 else 0.0
    return GpuShares(chosen_learner, chosen_runner)


def gpus_of_engine(
    per_env_runner: float | None, tensor_parallel: int, *, num_env_runners: int, available: Supply
) -> float | None:
    """The GPUs of one runner as set, or as many as its engine shares its layers over.

    Args:
        per_env_runner: GPUs of one runner as set; None to choose.
        tensor_parallel: GPUs of one engine.
        num_env_runners: Remote runners; 0 plays in the driver, which takes its GPUs without Ray.
        available: What is there; without GPUs the engine is on the CPU.

    Raises:
        ResourceError: The engine needs more than it gets.
    """
    if tensor_parallel == 1 or available.gpus == 0 or per_env_runner == 0:
        return per_env_runner
    has = available.gpus if num_env_runners == 0 else per_env_runner
    if has is not None and has < tensor_parallel:
        source = available.where if num_env_runners == 0 else "resources.num_gpus_per_env_runner"
        raise ResourceError(
            f"rollout.vllm.tensor_parallel_size={tensor_parallel} needs as many GPUs for each engine, and {source} has "
            f"{has:g}. Lower it, or leave resources.num_gpus_per_env_runner out."
        )
    return per_env_runner if num_env_runners == 0 or per_env_runner is not None else float(tensor_parallel)


def check_resources(
    shares: GpuShares,
    available: Supply,
    *,
    device: str,
    num_env_runners: int,
    num_learners: int,
    cpus_per_env_runner: float,
    cpus_per_learner: float | str,
) -> None:
    """Checks that a run does not need more than is available.

    Raises:
        ResourceError: Names what is needed, what is available, and the settings to change.
        DeviceError: The driver's device does not exist.
    """
    if device != "auto" and (num_env_runners == 0 or num_learners == 0):
        choose_device(device)
    if isinstance(cpus_per_learner, str):
        # "auto": RLlib gives a remote learner without a GPU one core.
        cpus_per_learner = 0.0 if shares.learner > 0 else 1.0
    cpus = num_env_runners * cpus_per_env_runner + num_learners * cpus_per_learner
    gpus = num_env_runners * shares.env_runner + num_learners * shares.learner
    if num_learners == 0 and shares.learner > 0:
        gpus = max(gpus, shares.learner)
    if cpus > available.cpus:
        raise ResourceError(
            f"{num_env_runners} env runner(s) and {num_learners} learner(s) need {cpus:g} CPUs, {available.where} has "
            f"{available.cpus:g}. Lower resources.num_env_runners or resources.num_learners; 0 works in the driver."
        )
    if gpus > available.gpus:
        raise ResourceError(
            f"{num_env_runners} env runner(s) with {shares.env_runner:g} GPU(s) each and {num_learners or 1} "
            f"learner(s) with {shares.learner:g} each need {gpus:g} GPUs, {available.where} has {available.gpus:g}. "
            "Lower resources.num_gpus_per_env_runner and resources.num_gpus_per_learner, or leave both out."
        )
