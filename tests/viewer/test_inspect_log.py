"""Logs for inspect_ai: its own functions read them back, and they hold what was recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from recorded_runs import (  # pyright: ignore[reportMissingImports]
    CLASSES,
    GAPS,
    TOKENS,
    episode,
    recorded_run,
    write_batch,
)

from sdar_gym import extras
from sdar_gym.cli.app import main
from sdar_gym.viewer import inspect_log
from sdar_gym.viewer.inspect_log import write_inspect_logs
from sdar_gym.viewer.recording import Recording, RecordingError


@pytest.fixture
def log_api() -> Any:
    return pytest.importorskip("inspect_ai.log", reason="needs inspect_ai: pip install 'sdar-gym[inspect]'")


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(extras.EXTRAS, "inspect", ("no_such_module",))
    run = recorded_run(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["sdar-gym", "view", str(run), "--export", "inspect"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and 'pip install "sdar-gym[inspect]"' in capsys.readouterr().err
    assert not (run / "inspect").exists()


@pytest.mark.slow
def test_every_evaluation_is_a_log_that_inspect_reads(log_api: Any, tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "run")
    paths, notices = write_inspect_logs(Recording(run))
    assert [path.name for path in paths] == ["eval-00000.eval", "eval-00002.eval"] and notices == []
    assert sorted(path.name for path in (run / "inspect").iterdir()) == [path.name for path in paths]
    assert len(log_api.list_eval_logs(str(run / "inspect"))) == 2
    log = log_api.read_eval_log(str(paths[1]))
    assert log.status == "success" and log.eval.task == "sdar/ALFWorld-v0 eval-00002"
    assert log.eval.metadata["config"]["method"] == "sdar" and log.eval.metadata["update"] == 2
    values = {name: metric.value for name, metric in log.results.scores[0].metrics.items()}
    expected = {"accuracy": 0.75, "success_low": 0.55, "success_high": 0.95, "success/heat": 1.0, "success/cool": 0.5}
    assert values == pytest.approx(expected)
    assert log_api.headline_metric(log).metric.value == 0.75
    assert [sample.scores["success"].value for sample in log.samples] == ["C", "C", "C", "I"]
    lost = log.samples[3]
    assert (lost.id, lost.epoch, lost.input, lost.limit.reason) == ("small/000003", 1, "cool a mug", "truncated")
    assert lost.metadata["skills"][0]["id"] == "heat.procedure" and lost.metadata["skills"][0]["score"] == 1.25
    assert [message.role for message in lost.messages] == ["user", "assistant"] * 2
    assert lost.messages[0].text == "You see a [bold]egg[/bold] \x1b[31m1."
    assert lost.messages[0].metadata == {"admissible_actions": ["heat", "look"]}
    said = lost.messages[1]
    assert said.content[0].reasoning == "Warm." and said.text == "<action>heat\n</action>"
    assert said.metadata["feedback"] == "no egg is hot" and said.metadata["valid_action"] is False
    assert lost.model_usage["policy"].output_tokens == 14 and lost.turn_count == 2


@pytest.mark.slow
def test_a_batch_with_tokens_has_their_values_up_to_a_number(
    log_api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded_run(tmp_path / "run")
    for name in ("one.eval", "one.json"):
        [path], _ = write_inspect_logs(Recording(run), tmp_path / name, "train-00001")
        # The reader sorts samples by epoch.
        first, other, second, plain = log_api.read_eval_log(str(path)).samples
        found = [(sample.id, sample.epoch) for sample in (first, second, other, plain)]
        assert found == [("small/000000", 1), ("small/000000", 2), ("small/000001", 1), ("small/000001", 2)]
        told = first.messages[1].metadata
        assert told["tokens"]["token"] == list(TOKENS) and told["tokens"]["class"] == list(CLASSES)
        assert told["tokens"]["gap"] == list(GAPS)
        assert told["advantage"] == -0.75 and told["teacher_context"] == "skill: use the microwave"
        assert "tokens" not in plain.messages[1].metadata
    monkeypatch.setattr(inspect_log, "MOST_TOKENS", len(TOKENS))
    [path], _ = write_inspect_logs(Recording(run), tmp_path / "few.eval", "train-00001")
    first = log_api.read_eval_log(str(path)).samples[0]
    assert "tokens" in first.messages[1].metadata and "tokens" not in first.messages[3].metadata
    assert first.metadata["tokens_left_out"] == len(TOKENS)


@pytest.mark.slow
def test_any_text_and_any_end_can_be_written(log_api: Any, tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "run")
    ended = episode(0, won=False)
    ended.turns, ended.ended, ended.error = [], "error", "the world broke"
    written = episode(1, won=True, goal="lone \ud83d and pair \ud83d\ude00")
    write_batch(run, "eval-00002", [ended, written])
    _, path = write_inspect_logs(Recording(run))[0]
    broken, sample = log_api.read_eval_log(str(path)).samples
    assert broken.error.message == "the world broke" and broken.messages == []
    assert sample.input == "lone \ufffd and pair \U0001f600"


@pytest.mark.slow
def test_what_cannot_be_exported_is_one_message(log_api: Any, tmp_path: Path) -> None:
    run = Recording(recorded_run(tmp_path / "run"))
    with pytest.raises(RecordingError, match="no batch 'eval-00009'; it has: eval-00000, train-00001"):
        write_inspect_logs(run, batch="eval-00009")
    with pytest.raises(RecordingError, match=r"2 evaluations are 2 logs, and .*one\.eval is one file"):
        write_inspect_logs(run, tmp_path / "one.eval")
    (tmp_path / "file").write_text(json.dumps({}))
    with pytest.raises(RecordingError, match=r"cannot be written: Not a directory|cannot be written: File exists"):
        write_inspect_logs(run, tmp_path / "file" / "logs")
