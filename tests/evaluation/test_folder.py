"""Evaluation folders: rows written at once, torn and damaged files, and what a resumed evaluation compares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_evaluations import (  # pyright: ignore[reportMissingImports]
    PANEL,
    made_episode,
    made_evaluation,
    made_record,
    once,
)

from sdar_gym.envs.tasks import TaskPanel
from sdar_gym.evaluation.folder import EvaluationFolder, EvaluationFolderError, new_evaluation_folder
from sdar_gym.evaluation.record import EvaluationRecord
from sdar_gym.evaluation.rows import EpisodeRowError, episode_of, read_rows
from sdar_gym.rollout.episode_limits import EpisodeLimits


def test_rows_are_there_at_once_and_failed_episodes_apart(tmp_path: Path) -> None:
    folder = made_evaluation(tmp_path / "e", once(True, False))
    folder.add(made_episode(2, error="Task 'c', reset: ValueError: no"))
    assert [row["won"] for row in read_rows(tmp_path / "e" / "episodes.jsonl")] == [True, False]
    (failed,) = read_rows(tmp_path / "e" / "errors.jsonl")
    assert (failed["ended"], failed["error"]) == ("error", "Task 'c', reset: ValueError: no")
    assert [episode.episode_id for episode in folder.episodes()] == ["0/0", "1/0"]


def test_a_row_is_read_back_with_everything_but_token_ids(tmp_path: Path) -> None:
    episode = made_episode(1, 3, won=True, metrics={"f1": 0.5}, skills=("s",), skill_scores=(float("inf"),), limit="")
    episode.turns[0].dropped_turns, episode.turns[0].feedback = 2, "good"
    row = json.loads(json.dumps(episode.to_json()))
    again = episode_of(row)
    assert (again.group_id, again.member, again.metrics, again.skill_scores) == (1, 3, {"f1": 0.5}, (float("inf"),))
    (turn,) = again.turns
    assert (turn.response_tokens, turn.prompt_tokens, turn.dropped_turns, turn.feedback) == (2, 9, 2, "good")
    # Log-probabilities are not in a row one by one.
    row["turns"][0]["mean_logprob"] = None
    assert again.to_json() == row


def test_a_torn_last_line_is_dropped_from_the_file(tmp_path: Path) -> None:
    folder = made_evaluation(tmp_path / "e", once(True, True))
    file = tmp_path / "e" / "episodes.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"episode_id": "2/0", "tas')
    with pytest.raises(EpisodeRowError, match=r"line 3, is no file of episodes"):
        folder.episodes()
    assert len(folder.episodes(torn=True)) == 2
    assert file.read_bytes() == whole
    folder.add(made_episode(2))
    assert len(folder.episodes()) == 3


def changed(**fields: object) -> bytes:
    return json.dumps({**made_episode(0).to_json(), **fields}).encode() + b"\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe\n", "line 1"),
        (b"[1]\n", "it holds list, no object"),
        (b"{}\n", "episode_id has to be text, and is missing"),
        (b"[" * 100_000 + b"\n", "line 1"),
        (changed(won="yes"), "won has to be true or false, and is 'yes'"),
        (changed(score=float("nan")), "score has to be a number, and is nan"),
        (changed(score=True), "score has to be a number"),
        (changed(turns=None), "turns has to be a list"),
        (changed(turns=[1]), "a turn is 1, no object"),
        (changed(turns=[{"observation": "x"}]), "response has to be text, and is missing"),
        (changed(episode_id="first"), "the episode_id 'first' is not of the form group/member"),
        (changed(metrics={"f1": "high"}), "f1 has to be a number"),
    ],
)
def test_a_damaged_row_is_one_message_with_its_line(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(EpisodeRowError, match=r"rows\.jsonl, line 1, is no file of episodes") as caught:
        read_rows(tmp_path / "rows.jsonl")
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_rows_that_do_not_belong_to_the_panel_are_refused(tmp_path: Path) -> None:
    twice = made_evaluation(tmp_path / "twice", [*once(True), *once(True)])
    with pytest.raises(EvaluationFolderError, match="has the episode 0/0 twice"):
        twice.episodes()
    other = made_evaluation(tmp_path / "other", once(True), TaskPanel("x", PANEL.env_id, ("b", "a")))
    with pytest.raises(EvaluationFolderError, match="the files are of two evaluations"):
        other.episodes()
    swapped = made_evaluation(tmp_path / "swapped", once(True))
    TaskPanel("x", PANEL.env_id, ("b", "a")).save(swapped.path / "panel.json")
    with pytest.raises(EvaluationFolderError, match="is another panel"):
        swapped.panel()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "evaluation.json cannot be used"),
        ("[]", "it holds list, no object"),
        ("{}", "its format is None, and this version reads 1"),
        ('{"format": 1}', "panel is missing"),
        ('{"format": 1, "panel": {}, "policy": 3}', "policy is 3"),
    ],
)
def test_a_damaged_record_is_one_message(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(EvaluationFolderError) as caught:
        EvaluationFolder(tmp_path).record()
    assert reason in str(caught.value)
    with pytest.raises(EvaluationFolderError, match=r"is no evaluation folder: it has no evaluation\.json"):
        EvaluationFolder(tmp_path / "nowhere").record()


def test_an_evaluation_is_not_begun_twice_in_one_folder(tmp_path: Path) -> None:
    folder = made_evaluation(tmp_path / "e", [])
    with pytest.raises(EvaluationFolderError, match="holds an evaluation already"):
        folder.begin(made_record(), PANEL)


def test_a_new_folder_gets_a_free_name_from_any_text(tmp_path: Path) -> None:
    names = [new_evaluation_folder(tmp_path / "runs", name).path.name for name in ("Qwen/Q-1.5B", "Qwen/Q-1.5B", "../")]
    assert names == ["eval-Qwen-Q-1.5B", "eval-Qwen-Q-1.5B-2", "eval-policy"]
    (tmp_path / "file").touch()
    with pytest.raises(EvaluationFolderError, match="Cannot create"):
        new_evaluation_folder(tmp_path / "file", "x")


def test_a_record_is_read_back_and_compared_setting_by_setting() -> None:
    record = made_record()
    again = EvaluationRecord.from_json(json.loads(json.dumps(record.to_json())))
    assert again.differences(record) == record.differences(again) == []
    other = made_record(
        settings=["evaluation.temperature=0.5", "training.lr=1e-5", "evaluation.batch_size=3", "runs_dir=elsewhere"],
        policy="yours",
        weights="def",
        limits=EpisodeLimits(turns=3),
    )
    assert record.differences(other) == [
        "policy: 'mine' -> 'yours'",
        "weights: 'abc' -> 'def'",
        "--max-turns: null -> 3",
        "evaluation.temperature: 1.0 -> 0.5",
    ]


def test_a_record_holds_no_password() -> None:
    record = made_record(
        settings=["env_config.games=generated", "skills.library=null"], endpoint="http://me:pw@host/v1"
    )
    assert "pw" not in json.dumps(record.to_json())
