"""An engine of a user: the transformers engine, with its calls counted."""

from __future__ import annotations

from typing import Any

from sdar_gym.rollout.engines.base import Engine
from sdar_gym.rollout.engines.registry import EngineSpec
from sdar_gym.rollout.engines.transformers_engine import from_spec


class CountingEngine(Engine):
    """Passes every call on to the transformers engine.

    Attributes:
        generated: Number of responses.
        versions: Versions of the weights that it was given.
    """

    def __init__(self, spec: EngineSpec):
        self._engine = from_spec(spec)
        self.stop_ids = self._engine.stop_ids
        self.spec = spec
        self.generated = 0
        self.versions: list[int] = []
        self.closed = 0

    def generate(self, requests: Any, params: Any) -> Any:
        self.generated += len(requests)
        return self._engine.generate(requests, params)

    def converse(self, requests: Any, params: Any, then: Any) -> None:
        def counted(number: int, result: Any) -> Any:
            self.generated += 1
            return then(number, result)

        self._engine.converse(requests, params, counted)

    def update_weights(self, state_dict: Any, version: int) -> None:
        self.versions.append(version)
        self._engine.update_weights(state_dict, version)

    def info(self) -> dict[str, Any]:
        return self._engine.info()

    def close(self) -> None:
        self.closed += 1
        self._engine.close()


def counting_engine(spec: EngineSpec) -> CountingEngine:
    return CountingEngine(spec)


def broken_engine(spec: EngineSpec) -> CountingEngine:
    raise ValueError("There are no such weights.")
