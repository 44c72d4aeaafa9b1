"""`ray job submit` from a clean clone, with token authentication: a training run and a search with Tune."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_nodes import RayNodes  # pyright: ignore[reportMissingImports]

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[1]
SMALL = ["training.tasks_per_iteration=2", "training.group_size=2", "env_config.max_steps=4"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    """A head of our own on the loopback interface."""
    place = tmp_path_factory.mktemp("cluster")
    token = place / "token"
    token.write_text(secrets.token_hex(32))
    with RayNodes(place, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}) as nodes:
        nodes.start_head("--num-cpus=2")
        nodes.wait_for_jobs()
        yield nodes


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The repository as it is committed."""
    place = tmp_path_factory.mktemp("clone") / "sdar-gym"
    done = subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{ROOT}", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip("needs the repository with its history, and git")
    return str(place)


def test_a_submitted_job_trains_and_leaves_the_same_run_folder(cluster: RayNodes, clone: str, tmp_path: Path) -> None:
    job = cluster.ray(
        "job", "submit", "--address", cluster.jobs, "--working-dir", clone, "--", "python", "-m", "sdar_gym", "train",
        "quickstart", "training.iterations=2", "evaluation.tasks=12", *SMALL, f"runs_dir={tmp_path / 'runs'}",
        f"mirror=file://{tmp_path / 'mirror'}",
    )  # fmt: skip
    assert job.returncode == 0, job.stdout[-3000:] + job.stderr[-3000:]
    folder = tmp_path / "runs" / "quickstart-sdar"
    expected = {"config.yaml", "versions.json", "panel.json", "metrics.jsonl", "episodes", "curve.png", "summary.json",
                "checkpoint", "policy"}  # fmt: skip
    assert expected <= {entry.name for entry in folder.iterdir()}
    assert json.loads((folder / "summary.json").read_text())["updates"] == 2
    # Resumed from where it is.
    again = cluster.ray(
        "job", "submit", "--address", cluster.jobs, "--working-dir", clone, "--", "python", "-m", "sdar_gym", "train",
        "--resume", f"file://{tmp_path / 'runs' / 'quickstart-sdar'}", "training.iterations=3",
    )  # fmt: skip
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert json.loads((folder / "summary.json").read_text())["updates"] == 3
    record = json.loads((tmp_path / "mirror" / "quickstart-sdar" / "mirror.json").read_text())
    assert record["update"] == 3


def test_a_submitted_job_searches_with_tune(cluster: RayNodes, clone: str, tmp_path: Path) -> None:
    job = cluster.ray(
        "job", "submit", "--address", cluster.jobs, "--working-dir", clone, "--", "python",
        "examples/ray_tune/search.py", f"--storage={tmp_path}", "--samples=1", "--updates=2", "--interval=1",
        "evaluation.tasks=6", "evaluation.teacher_tasks=0", "training.num_minibatches=1", *SMALL,
    )  # fmt: skip
    assert job.returncode == 0, job.stdout[-3000:] + job.stderr[-3000:]
    assert "best policy: " in job.stdout
    (result,) = (tmp_path / "sdar-search").glob("SDAR_*/result.json")
    assert [json.loads(line)["training_iteration"] for line in result.read_text().splitlines()] == [1, 2]


def test_a_client_without_the_token_is_refused(cluster: RayNodes, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(secrets.token_hex(32))
    asked = cluster.ray("job", "list", "--address", cluster.jobs, RAY_AUTH_TOKEN_PATH=str(wrong))
    assert asked.returncode != 0
