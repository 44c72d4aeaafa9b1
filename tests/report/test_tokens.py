"""Token dumps: round trip, whole episodes, and messages for damaged files."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdar_gym.report.tokens import TokenDumpError, read_tokens, turn_tokens, whole_episodes, write_tokens
from sdar_gym.rollout.trajectory import Episode, TurnRecord

NAN = float("nan")


def row(group: int = 0, member: int = 0, turn: int = 1, **changes: Any) -> dict[str, Any]:
    """A turn of two tokens."""
    values: dict[str, Any] = {
        "episode_id": f"{group}/{member}",
        "group_id": group,
        "task_id": "a/b",
        "task_type": "heat",
        "turn": turn,
        "won": False,
        "advantage": -0.5,
        "teacher_context": None,
        "token": ["go", "<|im_end|>"],
        "class": ["action", "end"],
        "student_logp": [-1.0, -0.25],
        "teacher_logp": None,
        "gap": None,
        "gate": [0.5, None],
        "weight": [0.125, 0.125],
        "token_advantage": [-0.5, 1],
        "entropy": None,
        "ratio": None,
    }
    return values | changes


def episodes(*lengths: tuple[int, ...]) -> list[dict[str, Any]]:
    """Rows of groups of episodes with so many turns each."""
    return [
        row(group, member, turn)
        for group, members in enumerate(lengths)
        for member, turns in enumerate(members)
        for turn in range(1, turns + 1)
    ]


def kept(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(each["episode_id"] for each in rows))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "tokens" / "000010.jsonl"
    rows = [row(), row(turn=2, token=["é", "\ud800 x\n"]), row(1, advantage=None)]
    before = deepcopy(rows)
    assert write_tokens(path, iter(rows)) == 3
    assert rows == before
    assert read_tokens(path) == rows
    assert len(path.read_text(encoding="ascii").splitlines()) == 3
    assert [file.name for file in path.parent.iterdir()] == ["000010.jsonl"]


def test_numbers_are_rounded_and_missing_ones_are_null(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    numbers = row(
        advantage=np.float32(1 / 3),
        won=np.bool_(True),
        turn=np.int64(3),
        student_logp=np.array([-1 / 3, np.nan], dtype=np.float32),
        teacher_logp=(-1e-9, -float("inf")),
        gap=[NAN, 0.123456789],
    )
    write_tokens(path, [numbers])
    (read,) = read_tokens(path)
    assert (read["advantage"], read["won"], read["turn"]) == (0.33333, True, 3)
    assert read["student_logp"] == [-0.33333, None]
    assert read["teacher_logp"] == [0.0, None]
    assert read["gap"] == [None, 0.12346]
    assert read["entropy"] is None
    assert "NaN" not in path.read_text()


def test_a_turn_of_an_episode_becomes_a_row(tokenizer: Any, tmp_path: Path) -> None:
    ids = [*tokenizer.encode("<action>look</action>", add_special_tokens=False), tokenizer.eos_token_id]
    turn = TurnRecord("You see.", "<action>look</action>", "look", True, True, 0.0, ids, [-0.5] * len(ids), 0)
    episode = Episode("3/1", 3, "a/b", "heat", "train", "Do it.", won=True)
    prompt, skill = (tokenizer.encode(text, add_special_tokens=False) for text in ("put", " heat"))
    episode.add_turn(turn, prompt)
    episode.add_turn(turn, prompt, [*prompt, *skill])
    gaps = [0.25] * len(ids)
    made = turn_tokens(episode, 1, tokenizer, advantage=1.0, values={"gap": gaps, "gate": None})
    head = {"episode_id": "3/1", "group_id": 3, "task_id": "a/b", "task_type": "heat", "turn": 2, "won": True}
    assert {key: made[key] for key in head} == head
    assert made["advantage"] == 1.0
    assert made["teacher_context"] == " heat"
    assert "".join(made["token"]) == "<action>look</action><|im_end|>"
    assert made["class"][0] == made["class"][-2] == "format"
    assert made["class"][-1] == "end"
    assert set(made["class"][1:-2]) == {"action"}
    assert made["gap"] == gaps
    assert made["gate"] is made["student_logp"] is None
    write_tokens(tmp_path / "t.jsonl", [made])
    assert read_tokens(tmp_path / "t.jsonl") == [made]
    with pytest.raises(TokenDumpError, match=r"Unknown list\(s\) kl; a dump has student_logp"):
        turn_tokens(episode, 0, tokenizer, advantage=1.0, values={"kl": gaps})
    short = turn_tokens(episode, 0, tokenizer, advantage=1.0, values={"gap": gaps[1:]})
    with pytest.raises(TokenDumpError, match=r"t\.jsonl, row 2 \(turn 1 of episode '3/1'\): gap is not a list of"):
        write_tokens(tmp_path / "t.jsonl", [made, short])


def test_a_bound_keeps_whole_episodes_evenly_over_groups(tmp_path: Path) -> None:
    rows = episodes((2, 3, 1), (4, 1), (1, 1, 1))
    assert kept(whole_episodes(rows, 100)) == kept(rows)
    # In turn: 0/0 (2), 1/0 (4), 2/0 (1), 0/1 (3), 1/1 (1), 2/1 (1), 0/2 (1), 2/2 (1); told in their own order.
    assert kept(whole_episodes(rows, 7)) == ["0/0", "1/0", "2/0"]
    assert kept(whole_episodes(rows, 11)) == ["0/0", "0/1", "1/0", "1/1", "2/0"]
    # A long one is not passed over for a short one behind it.
    assert kept(whole_episodes(rows, 5)) == ["0/0"]
    assert kept(whole_episodes(rows, 1)) == ["0/0"]
    assert write_tokens(tmp_path / "t.jsonl", rows, max_turns=11) == 11
    assert read_tokens(tmp_path / "t.jsonl") == whole_episodes(rows, 11)
    with pytest.raises(ValueError, match="max_turns must be at least 1, got 0"):
        write_tokens(tmp_path / "t.jsonl", rows, max_turns=0)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.jsonl"
    write_tokens(path, [row()])

    def fail(*_: Any) -> None:
        raise OSError("disk is full")

    monkeypatch.setattr("sdar_gym.files.os.replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        write_tokens(path, [row(), row(turn=2)])
    with pytest.raises(TokenDumpError):
        write_tokens(path, [row(gap=[1.0])])
    assert [file.name for file in tmp_path.iterdir()] == ["t.jsonl"]
    assert read_tokens(path) == [row()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gap": [1.0]}, "gap is not a list of 2"),
        ({"gap": "much"}, "gap is not a list of 2"),
        ({"gap": [1.0, "x"]}, "gap holds 'x', which is not a number"),
        ({"gap": [1.0, True]}, "gap holds True"),
        (
            {"class": ["action", "noise"]},
            r"unknown token class \['noise'\]; known: think, format, action, end",
        ),
        ({"class": ["end"]}, "class is not a list of 2"),
        ({"token": None}, "token is not a list of texts"),
        ({"turn": "1"}, "turn is '1'"),
        ({"turn": True}, "turn is True"),
        ({"won": 1}, "won is 1"),
        ({"task_id": None}, "task_id is None"),
        ({"extra": 1}, r"missing nothing, unknown \['extra'\]"),
    ],
)
def test_rows_of_another_schema_are_refused_in_both_directions(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "t.jsonl"
    with pytest.raises(TokenDumpError, match=message):
        write_tokens(path, [row(), row(**change)])
    assert not path.exists()
    path.write_text(f"{json.dumps(row())}\n\n{json.dumps(row(**change))}\n")
    with pytest.raises(TokenDumpError, match=rf"t\.jsonl, line 3: {message}"):
        read_tokens(path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with pytest.raises(TokenDumpError, match=r"Cannot read the token dump .*t\.jsonl: No such file"):
        read_tokens(path)
    whole = json.dumps(row())
    for line, message in (
        (whole[:-20], "not valid JSON"),
        ("[]", "a turn must be a JSON object, got list"),
        ("{}", "missing .*'advantage', 'class'"),
        (whole.replace("-0.25", "NaN"), r"not valid JSON \(NaN is not a JSON number\)"),
        ("\udcff", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("9" * 5000, "not valid JSON"),
        (whole.replace("-0.25", "1e400"), "student_logp holds inf, which is not finite; use null"),
        (whole.replace("-0.25", "9" * 400), "student_logp holds 9+.*, which is not finite"),
        (whole.replace('"advantage": -0.5', '"advantage": -1e400'), "advantage is -inf, which is not finite"),
    ):
        path.write_text(f"{whole}\n{line}\n", encoding="utf-8", errors="surrogateescape")
        with pytest.raises(TokenDumpError, match=rf"t\.jsonl, line 2: {message}"):
            read_tokens(path)
    path.write_text("")
    assert read_tokens(path) == []
    path.write_bytes(b"\xef\xbb\xbf" + whole.encode() + b"\r\n")  # As editors on Windows save it.
    assert read_tokens(path) == [row()]
    for wrong in (tmp_path, tmp_path / ("x" * 5000), tmp_path / "\x00"):
        with pytest.raises(TokenDumpError, match=r"Cannot read the token dump"):
            read_tokens(wrong)
