"""Page data: the index, chunks that decode to the episodes, and messages for damaged folders."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from made_run import episode, lines, make_run  # pyright: ignore[reportMissingImports]

from sdar_gym.viewer import page_data as module
from sdar_gym.viewer.page_data import COLUMNS, PageData, page_data
from sdar_gym.viewer.recording import Recording, RecordingError, read_episodes


def rows(page: PageData) -> list[dict[str, Any]]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in page.index["rows"]]


def content(page: PageData, row: dict[str, Any]) -> dict[str, Any]:
    return json.loads(zlib.decompress(base64.b64decode(page.chunks[row["chunk"]])))[row["place"]]


def of_turns(*turns: Any) -> str:
    """A line with other turns than an episode has."""
    return json.dumps({**episode(0, 0, ["a"], won=True), "turns": turns}) + "\n"


def test_every_episode_has_a_row_that_leads_to_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_SIZE", 4000)
    recording = Recording(make_run(tmp_path))
    page = page_data([recording])
    assert len(page.chunks) > 3
    written = [(batch.name, each) for batch in recording.batches() for each in read_episodes(batch)]
    assert len(written) == len(page.index["rows"]) == 84
    batches = page.index["recordings"][0]["batches"]
    assert batches == ["eval-00000", "train-00001", "eval-00002"]
    for row, (batch, each) in zip(rows(page), written, strict=True):
        assert batches[row["batch"]] == batch
        found = content(page, row)
        assert found["episode"] == each
        assert (row["won"], row["turns"], page.index["types"][row["type"]]) == (
            each["won"], len(each["turns"]), each["task_type"],
        )  # fmt: skip
        assert bool(found["tokens"]) == (batch == "train-00001") == bool(row["tokens"])
    # The members of a group are in one chunk, since they are looked at together.
    group = [row for row in rows(page) if batches[row["batch"]] == "train-00001" and row["group"] == "0"]
    assert len(group) == 2 and len({row["chunk"] for row in group}) == 1
    assert group[0]["gap"] == pytest.approx((1.5 + 0.5 - 0.5) / 12, abs=1e-4)
    assert content(page, group[0])["tokens"]["1"]["gap"] == [0.0, 1.5, 0.0, 0.0]


def test_metrics_settings_and_skills_are_in_the_index(tmp_path: Path) -> None:
    about = page_data([Recording(make_run(tmp_path))]).index["recordings"][0]
    assert about["metrics"]["teacher/gap/action"] == [[1, 2], [0.5, 0.25]]
    assert about["metrics"]["train/success"] == [[1, 2], [0.5, 0.75]]
    assert "learner/policy_loss" not in about["metrics"]
    assert [each["success"] for each in about["evaluations"]] == [0.0, 0.5]
    assert about["settings"]["training"]["lr"] == 1e-3
    assert about["clip"] == (0.8, 1.2)
    assert "microwave" in about["skills"]["heat.procedure"]["text"]


def test_the_clip_range_is_the_run_s_own(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    settings = json.loads((run / "config.yaml").read_text())
    settings["training"]["objective_by_method"] = {"sdar": {"clip_high": 0.5}, "grpo": {"clip_low": 0.9}}
    settings["training"]["objective"] = {"clip_low": 0.1}
    (run / "config.yaml").write_text(json.dumps(settings))
    assert page_data([Recording(run)]).index["recordings"][0]["clip"] == (0.9, 1.5)
    (run / "config.yaml").write_text(json.dumps({**settings, "method": "of another package"}))
    assert page_data([Recording(run)]).index["recordings"][0]["clip"] is None


def test_an_evaluation_s_folder_is_a_recording(tmp_path: Path) -> None:
    lines(tmp_path / "episodes.jsonl", [episode(task, 0, ["look"], won=True) for task in range(3)])
    (tmp_path / "summary.json").write_text('{"success": 1.0, "panel": "p", "panel_hash": "h"}')
    recording = Recording(tmp_path)
    assert not recording.is_run and recording.result["success"] == 1.0
    assert [row["task"] for row in rows(page_data([recording]))] == [f"small/train/{task:06d}" for task in range(3)]


def test_a_run_that_goes_on_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for name in ("metrics.jsonl", "episodes/eval-00002.jsonl"):
        with (run / name).open("a") as file:
            file.write('{"update": 3, "tra')
    page = page_data([Recording(run)])
    assert len(page.index["rows"]) == 84


def test_without_tokens_or_a_library_the_rest_is_shown_and_said(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "tokens" / "train-00001.jsonl").write_text('{"episode_id": "0/0"}\n')
    settings = json.loads((run / "config.yaml").read_text())
    settings["skills"]["library"] = str(tmp_path / "gone")
    (run / "config.yaml").write_text(json.dumps(settings))
    page = page_data([Recording(run)])
    assert len(page.index["rows"]) == 84
    assert any("tokens of train-00001 are not shown" in notice for notice in page.notices)
    assert any("skills of first-sdar are not shown" in notice for notice in page.notices)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metrics.jsonl", "{]\n", r"metrics\.jsonl, line 1, is no JSON"),
        ("metrics.jsonl", "[1]\n", r"metrics\.jsonl, line 1, is \[1\], no JSON object"),
        ("metrics.jsonl", '{"update": "x"}\n', r"metrics\.jsonl, line 1: update is 'x'"),
        ("episodes/eval-00000.jsonl", '{"a": 1}\n', r"00000\.jsonl, line 1: episode_id is None; this is no episode"),
        ("episodes/eval-00000.jsonl", '"text"\n', "no JSON object"),
        ("episodes/eval-00000.jsonl", of_turns(1), "turn 1 is no JSON object"),
        ("episodes/eval-00000.jsonl", of_turns({"observation": "o"}), "turn 1: response is None"),
        ("config.yaml", "a: [", r"config\.yaml cannot be read"),
        ("versions.json", "{", r"versions\.json is no JSON file"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    run = make_run(tmp_path)
    (run / name).write_text(text)
    with pytest.raises(RecordingError, match=message):
        page_data([Recording(run)])


def test_a_folder_that_holds_nothing_to_show_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="has neither metrics"):
        Recording(tmp_path)
    with pytest.raises(RecordingError, match="is not a folder; give a run folder"):
        Recording(tmp_path / "none")
    with pytest.raises(RecordingError, match="cannot be read: File name too long"):
        Recording(tmp_path / ("a" * 300))
