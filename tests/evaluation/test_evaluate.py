"""Evaluations into a folder: failed episodes are tried again, excluded and owed; a resumed one plays the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_server import Answer, completion, serve  # pyright: ignore[reportMissingImports]

from sdar_gym.configs import load_config
from sdar_gym.configs.schema import RunConfig
from sdar_gym.envs.alfworld.env import ALFWorldEnv
from sdar_gym.evaluation import panels
from sdar_gym.evaluation.evaluate import Evaluation, evaluate
from sdar_gym.evaluation.folder import EvaluationFolder
from sdar_gym.evaluation.panels import PanelPlayer
from sdar_gym.evaluation.record import EvaluationRecord
from sdar_gym.evaluation.rows import read_rows
from sdar_gym.evaluation.summary import summarize, summarize_finished, wilson_interval
from sdar_gym.rollout import build
from sdar_gym.rollout.chat_endpoint import Endpoint
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.episode_limits import EpisodeLimits
from sdar_gym.rollout.trajectory import Episode

SIZES = ("env_config.max_steps=2", "rollout.max_response_tokens=4", "policy.device=cpu")


def run_of(*changes: str) -> RunConfig:
    return load_config("quickstart", [*SIZES, "evaluation.tasks=8", *changes])


def played(run: RunConfig, policy: Path, place: Path, **options: Any) -> tuple[EvaluationFolder, Evaluation]:
    folder = EvaluationFolder(place)
    with PanelPlayer(run, str(policy)) as player:
        if not (place / "evaluation.json").exists():
            record = EvaluationRecord.of(
                run, player.panel, policy="p", endpoint=None, weights=None, config="c", limits=EpisodeLimits()
            )
            folder.begin(record, player.panel)
        return folder, evaluate(player, folder, **options)


class Breaking(ALFWorldEnv):
    """Raises an error in some tasks, as often as `left` says."""

    left: dict[str, int] = {}  # noqa: RUF012  set by each test

    def step(self, action: str) -> Any:
        name = self._task.task_id if self._task is not None else ""
        if Breaking.left.get(name, 0):
            Breaking.left[name] -= 1
            raise RuntimeError("the room is on fire")
        return super().step(action)


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the step of a task raises an error."""

    def make(env_id: str, arguments: dict[str, Any]) -> Breaking:
        made = Breaking(**arguments)
        assert env_id == "sdar/ALFWorld-v0"
        return made

    for module in (panels, build):
        monkeypatch.setattr(module, "make_env", make)
    Breaking.left = {}
    return Breaking.left


def test_a_whole_evaluation_has_the_result_of_its_panel(policy_folder: Path, tmp_path: Path) -> None:
    run = run_of()
    folder, result = played(run, policy_folder, tmp_path / "e")
    panel = folder.panel()
    strict = summarize(result.episodes, panel, 1.0, 0, False)
    assert {name: result.summary[name] for name in strict} == strict
    assert (result.summary["episodes"], result.summary["errors"], result.failed) == (8, 0, [])
    assert json.loads((tmp_path / "e" / "summary.json").read_text()) == json.loads(json.dumps(result.summary))
    assert not (tmp_path / "e" / "errors.jsonl").exists()
    rows = {row["episode_id"]: row for row in read_rows(tmp_path / "e" / "episodes.jsonl")}
    assert rows == {episode.episode_id: json.loads(json.dumps(episode.to_json())) for episode in result.episodes}


def test_a_failed_episode_is_tried_again(policy_folder: Path, tmp_path: Path, breaking: dict[str, int]) -> None:
    run = run_of()
    task = panels.panel_of(run).task_ids[3]
    breaking[task] = 1
    folder, result = played(run, policy_folder, tmp_path / "e", retries=1)
    assert (len(result.episodes), result.failed) == (8, [])
    (row,) = read_rows(tmp_path / "e" / "errors.jsonl")
    assert (row["task_id"], row["ended"]) == (task, "error")
    assert "RuntimeError: the room is on fire" in row["error"]
    assert len(folder.episodes()) == 8


def test_what_failed_is_excluded_from_rates_and_owed(
    policy_folder: Path, tmp_path: Path, breaking: dict[str, int]
) -> None:
    run = run_of()
    lost = panels.panel_of(run).task_ids[:3]
    breaking.update(dict.fromkeys(lost, 2))
    ended: list[str] = []
    folder, result = played(
        run, policy_folder, tmp_path / "e", retries=1, finished=lambda episode: ended.append(episode.task_id)
    )
    assert {episode.task_id for episode in result.failed} == set(lost)
    assert (result.summary["episodes"], result.summary["errors"], len(ended)) == (5, 3, 5)
    wins = sum(episode.won for episode in result.episodes)
    assert result.summary["success"] == wins / 5
    assert (result.summary["success_low"], result.summary["success_high"]) == wilson_interval(wins, 5)
    # The resumed evaluation plays the three, and ends as one that never failed.
    _, again = played(run, policy_folder, tmp_path / "e", done=folder.episodes(torn=True))
    assert {episode.task_id for episode in again.played} == set(lost)
    whole, _ = played(run, policy_folder, tmp_path / "whole")
    assert json.loads((tmp_path / "e" / "summary.json").read_text()) == json.loads(
        (whole.path / "summary.json").read_text()
    )


def test_an_evaluation_without_any_result_is_an_error(
    policy_folder: Path, tmp_path: Path, breaking: dict[str, int]
) -> None:
    run = run_of("evaluation.tasks=2")
    breaking.update(dict.fromkeys(panels.panel_of(run).task_ids, 9))
    with pytest.raises(ValueError, match=r"None of the 2 episodes finished, .* the room is on fire"):
        played(run, policy_folder, tmp_path / "e")
    assert len(read_rows(tmp_path / "e" / "errors.jsonl")) == 4


def test_the_panel_of_a_training_is_as_strict_as_it_was(policy_folder: Path, breaking: dict[str, int]) -> None:
    run = run_of()
    breaking[panels.panel_of(run).task_ids[0]] = 1
    with pytest.raises(ValueError, match=r"cannot be played\. Task .* the room is on fire"):
        panels.play_panel(run, str(policy_folder))


def test_repeated_episodes_may_be_incomplete(policy_folder: Path, tmp_path: Path) -> None:
    run = run_of("evaluation.tasks=3", "evaluation.repeats=4")
    _, result = played(run, policy_folder, tmp_path / "e")
    assert len(result.episodes) == 12
    panel = panels.build_panel(run.env, make_env(run.env, run.env_config), run.evaluation)
    for episode, won in zip(result.episodes, [True, False, True, True] + [False] * 4 + [True] * 4, strict=True):
        episode.won = won
    whole = summarize_finished(result.episodes, panel, 4, 1.0, 0, False)
    assert (whole["success"], whole["pass@4"], whole["pass^4"]) == (7 / 12, 2 / 3, 1 / 3)
    part = summarize_finished(result.episodes[:-1], panel, 4, 1.0, 0, False)
    assert (part["success"], part["episodes"], part["errors"]) == (6 / 11, 11, 1)
    assert part["success_low"] <= 6 / 11 <= part["success_high"]
    # Over the two tasks whose episodes all finished.
    assert (part["pass@4"], part["pass^4"]) == (0.5, 0.0)
    with pytest.raises(ValueError, match="are not those of panel"):
        summarize_finished([*result.episodes, result.episodes[0]], panel, 4, 1.0, 0, False)


def test_a_server_that_is_gone_in_the_second_try_leaves_the_result_of_the_first(tmp_path: Path) -> None:
    run = run_of("evaluation.temperature=0")
    gone = False

    def answer(body: dict[str, Any]) -> Answer:
        nonlocal gone
        if gone:
            return Answer({"error": "who are you?"}, 401)
        if "desklamp" in body["messages"][-1]["content"]:
            return Answer({"error": "no lamps"}, 400)
        return completion("<action>look</action>")

    folder = EvaluationFolder(tmp_path / "e")
    with serve(answer) as server, PanelPlayer(run, Endpoint(server.url, "m", max_connections=1)) as player:
        record = EvaluationRecord.of(
            run, player.panel, policy="m", endpoint=server.url, weights=None, config="c", limits=EpisodeLimits()
        )
        folder.begin(record, player.panel)
        ends: list[Episode] = []

        def end(episode: Episode) -> None:
            nonlocal gone
            ends.append(episode)
            gone = len(ends) == 6

        result = evaluate(player, folder, retries=3, finished=end)
    # Two of the eight tasks are about the lamp.
    assert (result.summary["episodes"], result.summary["errors"]) == (6, 2)
    assert all("no lamps" in episode.error for episode in result.failed)
