"""One local Ray for the tests of the RLlib side, and algorithms that are stopped with their test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def ray_instance(request: pytest.FixtureRequest) -> Iterator[None]:
    """One local Ray for all files that ask for it; it ends after the last of them."""
    import ray

    if not ray.is_initialized():
        # Workers import the environments and engines that tests define.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.getenv("PYTHONPATH"))))
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    asking = [item.path for item in request.session.items if "ray_instance" in getattr(item, "fixturenames", ())]
    if not asking or asking[-1] == request.path:
        ray.shutdown()


@pytest.fixture
def build() -> Iterator[Callable[[Any], Any]]:
    """Builds algorithms from configurations and stops them when the test is over."""
    built: list[Any] = []

    def build_(config: Any) -> Any:
        algorithm = config.build_algo()
        built.append(algorithm)
        return algorithm

    yield build_
    for algorithm in built:
        algorithm.stop()
