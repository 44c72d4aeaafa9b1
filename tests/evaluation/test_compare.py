from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_evaluations import PANEL, made_episode, made_evaluation, once  # pyright: ignore[reportMissingImports]

from sdar_gym.envs.tasks import PanelError, TaskPanel
from sdar_gym.evaluation.compare import ComparisonError, compare, played_panel
from sdar_gym.evaluation.paired import PairedCounts, newcombe_interval
from sdar_gym.evaluation.rows import EpisodeRowError


def test_evaluations_are_compared_task_by_task(tmp_path: Path) -> None:
    made_evaluation(tmp_path / "a", once(True, False, False, False))
    made_evaluation(tmp_path / "b", once(False, True, False, True))
    result = compare(played_panel(tmp_path / "a"), played_panel(tmp_path / "b"))
    assert (result.all.tasks, result.all.first, result.all.second, result.all.difference) == (4, 0.25, 0.5, 0.25)
    assert result.counts == PairedCounts(0, 1, 2, 1)
    assert (result.all.low, result.all.high) == newcombe_interval(result.counts)
    assert (result.mcnemar_p, result.differences) == (1.0, [])
    assert (list(result.better), list(result.worse)) == (["b", "d"], ["a"])
    assert {kind: each.difference for kind, each in result.by_type.items()} == {"even": -0.5, "odd": 1.0}
    assert json.loads(json.dumps(result.to_json()))["all"]["difference"] == 0.25


def test_several_episodes_of_a_task_are_one_rate(tmp_path: Path) -> None:
    def repeated(*wins: tuple[bool, bool]) -> list[object]:
        return [
            made_episode(group, member, won=won)
            for group, outcomes in enumerate(wins)
            for member, won in enumerate(outcomes)
        ]

    made_evaluation(tmp_path / "a", repeated((True, False), (False, False), (True, True), (False, False)))
    made_evaluation(tmp_path / "b", repeated((True, True), (False, False), (True, False), (False, True)))
    result = compare(played_panel(tmp_path / "a"), played_panel(tmp_path / "b"))
    assert (result.episodes, result.counts, result.mcnemar_p) == ((2, 2), None, None)
    assert result.method == "bootstrap over tasks"
    assert result.all.difference == 0.125
    assert result.better == {"a": (0.5, 1.0), "d": (0.0, 0.5)}
    assert result.worse == {"c": (1.0, 0.5)}


def test_failed_episodes_are_left_out_with_their_tasks(tmp_path: Path) -> None:
    made_evaluation(tmp_path / "a", [*once(True, True), made_episode(2, error="broken"), made_episode(3)])
    made_evaluation(tmp_path / "b", once(True, False, False, True))
    result = compare(played_panel(tmp_path / "a"), played_panel(tmp_path / "b"))
    assert (result.unfinished, result.left_out, result.all.tasks) == ((1, 0), ["c"], 3)
    assert result.counts == PairedCounts(1, 1, 1, 0)


def test_a_run_stands_for_its_last_evaluation(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "episodes").mkdir(parents=True)
    PANEL.save(run / "panel.json")
    with pytest.raises(ComparisonError, match="no evaluation: episodes/eval-"):
        played_panel(run)
    for update, won in ((0, False), (10, True), (2, False)):
        rows = "".join(json.dumps(episode.to_json()) + "\n" for episode in once(won, won, won, won))
        (run / "episodes" / f"eval-{update:05}.jsonl").write_text(rows)
    (run / "episodes" / "train-00010.jsonl").write_text("not an evaluation\n")
    played = played_panel(run)
    assert played.file.name == "eval-00010.jsonl"
    assert played.wins == {task: [True] for task in PANEL.task_ids}


def test_only_equal_panels_are_compared(tmp_path: Path) -> None:
    made_evaluation(tmp_path / "a", once(True))
    made_evaluation(tmp_path / "b", once(True), TaskPanel("two", PANEL.env_id, ("a", "b")))
    with pytest.raises(ComparisonError, match=r"played other tasks: panel four \(\w+\) and two \(\w+\)"):
        compare(played_panel(tmp_path / "a"), played_panel(tmp_path / "b"))
    made_evaluation(tmp_path / "c", [made_episode(1)])
    with pytest.raises(ComparisonError, match="no finished task in common"):
        compare(played_panel(tmp_path / "a"), played_panel(tmp_path / "c"))


def test_what_is_no_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match="there is no such folder"):
        played_panel(tmp_path / "nowhere")
    with pytest.raises(ComparisonError, match=r"it has neither evaluation\.json nor panel\.json"):
        played_panel(tmp_path)
    with pytest.raises(ComparisonError, match="no finished episode"):
        played_panel(made_evaluation(tmp_path / "empty", []).path)
    damaged = made_evaluation(tmp_path / "damaged", once(True)).path
    (damaged / "episodes.jsonl").write_text("{\n")
    with pytest.raises(EpisodeRowError, match="line 1"):
        played_panel(damaged)
    (damaged / "panel.json").write_text("{}")
    with pytest.raises(PanelError, match="not a readable task panel"):
        played_panel(damaged)
