"""The engine registry: from `rollout.engine` to the engine that samples responses.

An engine is registered under a name by `register_engine`, or given as `module:function` in the configuration, which
works in every process of a run. The function takes an `EngineSpec` and returns an `Engine`; it loads its own weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch

from sdar_gym.configs.sections import PolicySettings, RolloutSettings
from sdar_gym.envs.registry import is_object_path, load_object
from sdar_gym.rollout.engines.base import Engine
from sdar_gym.settings import did_you_mean


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """The inputs of an engine factory.

    Attributes:
        policy: Model, precision and adapters.
        rollout: Chat template and batch settings.
        device: Device of the engine.
        tokenizer: The policy's.
        processes: Processes with an engine on this machine, which share its cores.
        gpu_share: The engine's share of a GPU; below 1, learners or other engines use it too.
    """

    policy: PolicySettings
    rollout: RolloutSettings
    device: torch.device
    tokenizer: Any
    processes: int = 1
    gpu_share: float = 1.0


EngineFactory = Callable[[EngineSpec], Engine]
_FACTORIES: dict[str, str | EngineFactory] = {
    "transformers": "sdar_gym.rollout.engines.transformers_engine:from_spec",
    "vllm": "sdar_gym.rollout.engines.vllm_build:from_spec",
}
# Functions that refuse settings before an engine is built.
_CHECKS: dict[str, str] = {"vllm": "sdar_gym.rollout.engines.vllm_checks:check_settings"}


def register_engine(name: str, factory: str | EngineFactory) -> None:
    """Registers an engine.

    Args:
        name: The name for `rollout.engine`.
        factory: Builds it from an `EngineSpec`, or `module:function` of such a function.

    Raises:
        ValueError: The name belongs to another engine.
    """
    if _FACTORIES.get(name, factory) != factory:
        raise ValueError(f"Another engine {name!r} is registered already; choose another name.")
    _FACTORIES[name] = factory


def engine_factory(name: str) -> EngineFactory:
    """The factory of an engine.

    Args:
        name: A registered name, or `module:function`.

    Raises:
        ValueError: The engine is unknown.
    """
    factory = _FACTORIES.get(name, name if is_object_path(name) else None)
    if factory is None:
        raise ValueError(
            f"rollout.engine: unknown engine {name!r}.{did_you_mean(name, _FACTORIES)} Name your own as "
            "module:function."
        )
    if not isinstance(factory, str):
        return factory
    loaded = load_object(factory, "The engine")
    if not callable(loaded):
        raise ValueError(f"rollout.engine={name} is no function that builds an engine.")
    return cast(EngineFactory, loaded)


def check_engine(policy: PolicySettings, rollout: RolloutSettings, *, on_gpu: bool) -> None:
    """Refuses settings with which the engine cannot be built: packages that are missing, say.

    Args:
        policy: Model, precision and adapters.
        rollout: The engine's name and settings.
        on_gpu: Whether the engine will have a GPU.

    Raises:
        ValueError: The engine is unknown, or it refuses the settings.
    """
    engine_factory(rollout.engine)
    if rollout.engine in _CHECKS:
        load_object(_CHECKS[rollout.engine], "The engine's check")(policy, on_gpu=on_gpu)


def build_engine(spec: EngineSpec) -> Engine:
    """Builds the engine that `rollout.engine` names.

    Raises:
        ValueError: The engine is unknown, or it cannot load the policy.
    """
    check_engine(spec.policy, spec.rollout, on_gpu=spec.device.type == "cuda")
    return engine_factory(spec.rollout.engine)(spec)
