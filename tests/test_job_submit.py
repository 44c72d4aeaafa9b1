"""`ray job submit`, with token authentication, as the README tells it: a head of our own on the loopback interface."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Address of the dashboard and the environment of a client."""
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    dashboard = _free_port()
    ports = [f"--{name}={_free_port()}" for name in ("port", "ray-client-server-port", "dashboard-agent-listen-port")]
    # Short: the path of a Unix socket must fit into about a hundred characters.
    folder = Path("/tmp") / f"sdar-{secrets.token_hex(4)}"
    log = (tmp_path / "head.log").open("w")
    head = subprocess.Popen(
        [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1",
         "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--temp-dir={folder}", "--num-cpus=2", *ports],
        env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    try:
        deadline = time.monotonic() + 120
        while True:
            asked = _ray(["job", "list", "--address", address], environment)
            if asked.returncode == 0:
                break
            if time.monotonic() > deadline or head.poll() is not None:
                pytest.fail(f"The head did not come up: {(tmp_path / 'head.log').read_text()[-2000:]}\n{asked.stderr}")
            time.sleep(2)
        yield address, environment
    finally:
        # `ray stop` would end other people's clusters too; this ends the processes started here and nothing else.
        head.terminate()
        try:
            head.wait(30)
        except subprocess.TimeoutExpired:
            head.kill()
            head.wait()
        for process in psutil.process_iter(["cmdline"]):
            if any(str(folder) in part for part in process.info["cmdline"] or ()):
                process.kill()
        log.close()


def _ray(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "ray"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, cwd=ROOT)


def test_a_submitted_job_trains_and_leaves_the_same_run_folder(
    cluster: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    address, environment = cluster
    job = _ray(
        ["job", "submit", "--address", address, "--working-dir", ".", "--", "python", "-m", "sdar_gym", "train",
         "quickstart", "training.iterations=2", "training.tasks_per_iteration=2", "evaluation.tasks=12",
         f"runs_dir={tmp_path / 'runs'}"],
        environment,
    )  # fmt: skip
    assert job.returncode == 0, job.stdout[-3000:] + job.stderr[-3000:]
    folder = tmp_path / "runs" / "quickstart-sdar"
    expected = {"config.yaml", "versions.json", "panel.json", "metrics.jsonl", "episodes", "curve.png", "summary.json",
                "checkpoint", "policy"}  # fmt: skip
    assert expected <= {entry.name for entry in folder.iterdir()}
    assert json.loads((folder / "summary.json").read_text())["updates"] == 2


def test_a_client_without_the_token_is_refused(cluster: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = cluster
    wrong = tmp_path / "wrong"
    wrong.write_text(secrets.token_hex(32))
    asked = _ray(["job", "list", "--address", address], {**environment, "RAY_AUTH_TOKEN_PATH": str(wrong)})
    assert asked.returncode != 0
