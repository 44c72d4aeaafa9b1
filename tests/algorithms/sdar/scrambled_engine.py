"""An engine whose update of the weights mixes up the rows of embedding and head."""

from __future__ import annotations

from typing import Any

import torch
from counting_engine import CountingEngine  # pyright: ignore[reportMissingImports]

from sdar_gym.rollout.engines.registry import EngineSpec


class ScrambledEngine(CountingEngine):
    """The transformers engine with the rows of its head in another order, from a version of the weights on."""

    def __init__(self, spec: EngineSpec, wrong_from: int):
        super().__init__(spec)
        self._wrong_from = wrong_from

    def update_weights(self, state_dict: Any, version: int) -> None:
        state = dict(state_dict)
        if version >= self._wrong_from:
            state |= {name: tensor.roll(1, 0) for name, tensor in state.items() if name.endswith("embed_tokens.weight")}
            state |= {name: tensor.roll(1, 0) for name, tensor in state.items() if name.endswith("lm_head.weight")}
        super().update_weights({name: torch.as_tensor(tensor) for name, tensor in state.items()}, version)


def wrong_at_once(spec: EngineSpec) -> ScrambledEngine:
    return ScrambledEngine(spec, 0)


def wrong_after_an_update(spec: EngineSpec) -> ScrambledEngine:
    return ScrambledEngine(spec, 1)
