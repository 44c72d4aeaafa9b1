"""A run on two machines, imitated by two Ray nodes: it spreads over both, and a lost one changes no update."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from held_env import ENV, NODE, register_held  # pyright: ignore[reportMissingImports]
from ray_nodes import Node, RayNodes, environment_variables  # pyright: ignore[reportMissingImports]
from test_train_and_resume import SIZES, end_of  # pyright: ignore[reportMissingImports]

from sdar_gym.algorithms.sdar import SDAR
from sdar_gym.configs import load_config
from sdar_gym.runs.folder import RunFolder
from sdar_gym.runs.train import train

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]
UPDATES = 4


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[RayNodes]:
    """Two nodes with a core each, so that each has room for one runner; this process is connected to the first."""
    ray.shutdown()  # One that tests of another file left for the next ones.
    paths = [str(Path(__file__).parent), os.getenv("PYTHONPATH", "")]
    variables = {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with RayNodes(tmp_path, variables) as started, environment_variables(RAY_AUTH_MODE="disabled"):
        started.start_head("--num-cpus=1")
        started.add("--num-cpus=1", **{NODE: "second"})
        ray.init(address=started.address, log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield started
        finally:
            ray.shutdown()


@pytest.fixture
def algorithms(monkeypatch: pytest.MonkeyPatch) -> list[SDAR]:
    """The algorithms of the runs, as soon as they are built."""
    built: list[SDAR] = []
    setup = SDAR.setup

    def noted(self: SDAR, config: Any) -> None:
        setup(self, config)
        built.append(self)

    monkeypatch.setattr(SDAR, "setup", noted)
    return built


def places(algorithm: Any) -> set[str]:
    """The nodes of the runners that answer."""
    return set(
        algorithm.env_runner_group.foreach_env_runner(
            lambda runner: ray.get_runtime_context().get_node_id(), local_env_runner=False
        )
    )


def without_losses(folder: RunFolder) -> dict[str, Any]:
    """All of a run but times and what was lost on the way."""
    end = end_of(folder)
    for record in end["records"]:
        record.pop("faults", None)
        record.get("train", {}).pop("lost_episodes", None)
    return end


@pytest.mark.usefixtures("clean_registry")
def test_a_run_on_two_nodes_goes_on_without_one_as_if_it_were_there(
    nodes: RayNodes, algorithms: list[SDAR], tmp_path: Path
) -> None:
    register_held()

    def config(name: str) -> Any:
        return load_config(
            "quickstart",
            [*SIZES, f"env={ENV}", f"env_config.folder={tmp_path}", f"name={name}", f"runs_dir={tmp_path / 'runs'}",
             "resources.num_env_runners=2", f"training.iterations={UPDATES}", "skills.strategy=ucb",
             "training.tasks_per_iteration=3"],
        )  # fmt: skip

    spread: list[set[str]] = []
    calm, _ = train(config("calm"), report=lambda progress: spread.append(places(algorithms[-1])))
    assert {len(each) for each in spread} == {2}

    second = nodes.nodes[1]
    spread.clear()

    def told(progress: Any) -> None:
        spread.append(places(algorithms[-1]))
        if progress.update == 1:
            (tmp_path / "hold").touch()
            threading.Thread(target=kill_when_held, args=(second, tmp_path), daemon=True).start()
        if progress.update == 2:
            nodes.add("--num-cpus=1")
            wait_for_runner(algorithms[-1])

    hit, _ = train(config("hit"), report=told)
    # A machine that joins gets the runner that has no place.
    assert [len(each) for each in spread] == [2, 2, 1, 2, 2]
    assert (tmp_path / "held").exists(), "It was killed while it played."
    assert without_losses(calm) == without_losses(hit)


def wait_for_runner(algorithm: Any) -> None:
    """Returns when the lost runner is back, as the next update would find it."""
    deadline = time.monotonic() + 120
    while not algorithm.restore_env_runners(algorithm.env_runner_group):
        assert time.monotonic() < deadline, "The runner did not come back."


def kill_when_held(node: Node, folder: Path) -> None:
    while not (folder / "held").exists():
        time.sleep(0.05)
    node.kill()
    (folder / "hold").unlink()
