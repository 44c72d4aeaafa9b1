"""The engine registry: `rollout.engine` names what samples responses.

An engine is registered under a name by `register_engine`, or named as `module:function` in the configuration, which
every process of a run can find. The function takes an `EngineSpec` and returns an `Engine`; it loads its own weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from sdar_gym.configs.sections import PolicySettings, RolloutSettings
from sdar_gym.envs.registry import is_object_path, load_object
from sdar_gym.rollout.engines.base import Engine
from sdar_gym.settings import did_you_mean


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What an engine is built from.

    Attributes:
        policy: Model, precision and adapters.
        rollout: Chat template and batch settings.
        device: Where it computes.
        tokenizer: The policy's.
        processes: Processes with an engine on this machine, which share its cores.
    """

    policy: PolicySettings
    rollout: RolloutSettings
    device: torch.device
    tokenizer: Any
    processes: int = 1


EngineFactory = Callable[[EngineSpec], Engine]
_FACTORIES: dict[str, str | EngineFactory] = {
    "transformers": "sdar_gym.rollout.engines.transformers_engine:from_spec",
}


def register_engine(name: str, factory: str | EngineFactory) -> None:
    """Registers an engine.

    Args:
        name: The name for `rollout.engine`.
        factory: Builds it from an `EngineSpec`, or `module:function` of such a function.

    Raises:
        ValueError: There is another engine of that name.
    """
    if _FACTORIES.get(name, factory) != factory:
        raise ValueError(f"There is an engine {name!r} already; choose another name.")
    _FACTORIES[name] = factory


def engine_factory(name: str) -> EngineFactory:
    """The factory of an engine.

    Args:
        name: A registered name, or `module:function`.

    Raises:
        ValueError: There is no such engine.
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
    return loaded


def build_engine(spec: EngineSpec) -> Engine:
    """Builds the engine that `rollout.engine` names.

    Raises:
        ValueError: There is no such engine, or it cannot load the policy.
    """
    return engine_factory(spec.rollout.engine)(spec)
