"""verifiers' own command plays the example against a server that always answers the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from fake_model_server import model_server  # pyright: ignore[reportMissingImports]

EXAMPLE = Path(__file__).parents[2] / "examples" / "verifiers_env"
COMMAND = Path(sys.executable).with_name("vf-eval")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("verifiers") is None or not COMMAND.exists() or shutil.which("uv") is None,
        reason="needs verifiers and uv: pip install verifiers==0.4.0 uv",
    ),
]


def test_the_environment_plays_the_user(tmp_path: Path) -> None:
    settings = {"games": "generated", "scene": "small", "max_steps": 3}
    with model_server("<think>Hm.</think><action>look</action>") as (address, requests):
        command = [str(COMMAND), "sdar_gym_env", "--env.taskset.settings", json.dumps(settings)]
        command += ["--select.limit", "2", "--no-push", "--client.base-url", address, "--model", "tiny"]
        command += ["--client.api-key-var", "NO_KEY", "--output-dir", str(tmp_path)]
        roots = os.pathsep.join([str(EXAMPLE), str(EXAMPLE.parents[1])])
        environment = {**os.environ, "PYTHONPATH": roots, "NO_KEY": "none"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    traces = [trace for file in tmp_path.rglob("traces.jsonl") for trace in _traces(file)]
    assert len(traces) == 2
    for trace in traces:
        assert not trace["errors"], trace["errors"]
        assert trace["metrics"] == {"won": 0.0, "score": 0.0, "form_errors": 0.0}
        assert "total_reward" in trace["rewards"]
    longest = max(requests, key=lambda body: len(body["messages"]))["messages"]
    assert [message["role"] for message in longest] == ["user", "assistant", "user", "assistant", "user"]
    assert longest[0]["content"].endswith("Answer with exactly one action inside <action> </action> tags.")
    assert longest[2]["content"].startswith("You are in the middle of a room.")


def _traces(file: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [trace for row in rows for trace in row.get("traces", [row])]
