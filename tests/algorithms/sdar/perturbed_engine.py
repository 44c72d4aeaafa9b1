"""An engine whose weights differ a little from the learner's, as another precision or other kernels would have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sdar_gym.rollout.engines.base import Engine
from sdar_gym.rollout.engines.registry import EngineSpec
from sdar_gym.rollout.engines.transformers_engine import from_spec

# Of the size of the weights.
NOISE = 0.05


def perturbed(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights with the same noise at every call."""
    rng, noisy = torch.Generator().manual_seed(0), {}
    for name, tensor in state_dict.items():
        noise = torch.randn(tensor.shape, generator=rng).to(tensor.dtype)
        noisy[name] = tensor + NOISE * tensor.abs().mean() * noise
    return noisy


class PerturbedEngine(Engine):
    """Passes every call on to the transformers engine, which gets other weights."""

    def __init__(self, spec: EngineSpec):
        self._engine = from_spec(spec)
        self.stop_ids = self._engine.stop_ids
        self.update_weights(self._engine._model.state_dict(), 0)

    def generate(self, requests: Any, params: Any) -> Any:
        return self._engine.generate(requests, params)

    def update_weights(self, state_dict: Any, version: int) -> None:
        self._engine.update_weights(perturbed(state_dict), version)

    def info(self) -> dict[str, Any]:
        return self._engine.info()


def perturbed_engine(spec: EngineSpec) -> PerturbedEngine:
    return PerturbedEngine(spec)
