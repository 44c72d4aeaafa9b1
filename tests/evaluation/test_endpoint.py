"""A policy on a server plays the same episodes as in this process, over the real protocol."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chat_server import Answer, answers_of, completion, serve  # pyright: ignore[reportMissingImports]

from sdar_gym.configs import load_config
from sdar_gym.evaluation.panels import PanelPlayer
from sdar_gym.rollout.chat_client import ChatClient
from sdar_gym.rollout.chat_endpoint import Endpoint, EndpointError
from sdar_gym.rollout.episode_limits import EpisodeLimits
from sdar_gym.rollout.trajectory import Episode

SMALL = ("env_config.max_steps=6", "evaluation.temperature=0", "policy.device=cpu")


def seen(episodes: list[Episode]) -> list[Any]:
    """What a policy read and did."""
    return [
        (
            episode.episode_id,
            episode.task_id,
            episode.ended,
            episode.score,
            episode.skills,
            [
                (turn.observation, turn.response, turn.action, turn.valid_form, turn.reward, turn.prompt_tokens)
                for turn in episode.turns
            ],
        )
        for episode in episodes
    ]


def play(run: Any, policy: str | Endpoint, **options: Any) -> list[Episode]:
    with PanelPlayer(run, policy, **options) as player:
        return player.play(player.requests(), keep_failed=True)


# In a conversation a server encodes past responses again. The tiny policy, which was not trained on conversations,
# soon writes some that encoding splits otherwise, so that episodes are short there.
@pytest.mark.parametrize(
    ("context", "turns", "skills"), [("window", 6, "false"), ("window", 3, "true"), ("conversation", 3, "true")]
)
def test_the_same_policy_plays_the_same_episodes_on_a_server(context: str, turns: int, skills: str) -> None:
    sizes = (f"env_config.max_steps={turns}", "evaluation.tasks=3", f"evaluation.with_skills={skills}")
    run = load_config("quickstart", [*SMALL, *sizes, f"rollout.context={context}"])
    here = play(run, "builtin:tiny")
    with serve(answers_of("builtin:tiny")) as server:
        there = play(run, Endpoint(server.url, "tiny"))
    assert seen(there) == seen(here)
    assert all(turn.response_ids == [] and turn.response_tokens > 0 for episode in there for turn in episode.turns)
    assert there[0].to_json()["turns"][0]["mean_logprob"] is None


def test_no_more_episodes_are_in_progress_than_there_are_connections() -> None:
    run = load_config("quickstart", [*SMALL, "evaluation.tasks=12", "env_config.max_steps=3"])
    ended: list[str] = []
    with (
        serve(lambda body: completion("<action>look</action>")) as server,
        PanelPlayer(run, Endpoint(server.url, "tiny", max_connections=3)) as player,
    ):
        episodes = player.play(player.requests(), finished=lambda episode: ended.append(episode.episode_id))
    assert server.most_at_once <= 3
    assert [episode.episode_id for episode in episodes] == [f"{number}/0" for number in range(12)]
    assert sorted(ended) == sorted(episode.episode_id for episode in episodes)
    assert {episode.ended for episode in episodes} == {"truncated"}


def test_an_error_of_the_server_is_one_of_its_episode() -> None:
    run = load_config("quickstart", [*SMALL, "evaluation.tasks=6"])

    def answer(body: dict[str, Any]) -> Answer:
        if "desklamp" in body["messages"][-1]["content"]:
            return Answer({"error": {"message": "no lamps"}}, 400)
        return completion("<action>look</action>")

    with serve(answer) as server:
        episodes = play(run, Endpoint(server.url, "tiny"))
        failed = [episode for episode in episodes if episode.ended == "error"]
        assert {episode.ended for episode in episodes} == {"error", "truncated"}
        assert all("turn 1: status 400: no lamps (1 try)" in episode.error for episode in failed)
        with (
            pytest.raises(ValueError, match=r"cannot be played\. Task .* no lamps"),
            PanelPlayer(run, Endpoint(server.url, "tiny")) as player,
        ):
            player.play(player.requests())


def test_limits_of_turns_and_tokens_truncate_and_that_of_seconds_is_an_error() -> None:
    run = load_config("quickstart", [*SMALL, "evaluation.tasks=2"])

    def answer(body: dict[str, Any]) -> Answer:
        return completion("<action>look</action>", response=5)

    with serve(answer) as server:
        endpoint = Endpoint(server.url, "tiny")
        for limits, turns, name in ((EpisodeLimits(turns=2), 2, "turns"), (EpisodeLimits(tokens=11), 3, "tokens")):
            for episode in play(run, endpoint, limits=limits):
                assert (episode.ended, episode.limit, len(episode.turns)) == ("truncated", name, turns)
                assert episode.to_json()["limit"] == name
    with serve(lambda body: time.sleep(0.3) or completion("x")) as server:
        (episode, _) = play(run, Endpoint(server.url, "tiny"), limits=EpisodeLimits(seconds=0.1))
    assert episode.ended == "error"
    assert "turn 1: no whole response within" in episode.error
    with pytest.raises(ValueError, match="--max-seconds must be above 0"):
        EpisodeLimits(seconds=0)


def test_limits_hold_in_this_process_too(policy_folder: Path) -> None:
    run = load_config("quickstart", [*SMALL, "evaluation.tasks=2"])
    for episode in play(run, str(policy_folder), limits=EpisodeLimits(turns=3)):
        assert (episode.limit, len(episode.turns)) == ("turns", 3)
    for episode in play(run, str(policy_folder), limits=EpisodeLimits(seconds=1e-9)):
        assert (episode.ended, episode.turns) == ("error", [])
        assert "took longer than 1e-09 seconds" in episode.error


def test_a_prompt_that_a_server_refuses_for_its_length_ends_the_episode() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        if len(body["messages"]) > 3:
            return Answer({"error": {"message": "maximum context length is 9 tokens"}}, 400)
        return completion("<action>look</action>")

    with serve(answer) as server:
        run = load_config("quickstart", [*SMALL, "evaluation.tasks=1", "rollout.context=conversation"])
        (episode,) = play(run, Endpoint(server.url, "tiny"))
        assert (episode.ended, len(episode.turns)) == ("context_full", 2)


def test_settings_that_need_a_tokenizer_are_refused() -> None:
    run = load_config("quickstart", ["rollout.max_observation_tokens=50"])
    with pytest.raises(ValueError, match="max_observation_tokens=50 counts tokens"):
        PanelPlayer(run, Endpoint("http://127.0.0.1:1", "tiny"))


def test_a_server_is_evaluated_without_torch() -> None:
    script = (
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'ray', 'transformers', 'safetensors', 'matplotlib', 'scipy'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "from sdar_gym.configs import load_config\n"
        "from sdar_gym.evaluation.panels import PanelPlayer\n"
        "from sdar_gym.rollout.chat_endpoint import Endpoint\n"
        "import sdar_gym.cli.evaluation, sdar_gym.cli.compare, sdar_gym.cli.rescore\n"
        "PanelPlayer(load_config('quickstart'), Endpoint('http://127.0.0.1:1', 'm'))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@contextmanager
def vllm_server(model: Path) -> Iterator[str]:
    """vLLM's own server of a model on the CPU."""
    import os

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--served-model-name", "smollm2", "--dtype", "float32", "--enforce-eager"]
    command += ["--max-model-len", "2048", "--max-num-seqs", "8"]
    server = subprocess.Popen(
        command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(60)


@pytest.mark.slow
@pytest.mark.usefixtures("vllm_cpu")
@pytest.mark.timeout(900)
def test_a_real_chat_model_plays_the_same_episodes_on_vllms_server(smollm2: Path) -> None:
    common = ("env_config.games=generated", "env_config.scene=small", "env_config.max_steps=3", *SMALL[1:])
    sizes = ("evaluation.tasks=3", "rollout.max_response_tokens=24", "rollout.few_shot=2", "policy.dtype=float32")
    with vllm_server(smollm2) as url:
        endpoint = Endpoint(url, "smollm2")
        for _ in range(300):
            try:
                assert ChatClient(endpoint).check() == ""
                break
            except EndpointError:
                time.sleep(1)
        for more in (("rollout.context=window",), ("rollout.context=conversation", "rollout.think=false")):
            run = load_config("published", [*common, *sizes, *more])
            assert seen(play(run, endpoint)) == seen(play(run, str(smollm2)))
