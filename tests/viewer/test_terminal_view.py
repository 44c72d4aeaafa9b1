"""The terminal view: what is shown, in a pipe and in color, and that no text of an episode reaches the terminal raw."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from recorded_runs import TOKENS, episode, recorded_run, token_rows, write_batch  # pyright: ignore[reportMissingImports]

from sdar_gym.cli.app import main
from sdar_gym.report.tokens import write_tokens
from sdar_gym.viewer.recording import Recording
from sdar_gym.viewer.terminal import find_episode
from sdar_gym.viewer.text_curve import sparkline, text_curve
from sdar_gym.viewer.token_measures import MEASURES

SGR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def view(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, code: int = 0) -> str:
        monkeypatch.setattr("sys.argv", ["sdar-gym", "view", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert ended.value.code == code, err
        return err if code else out

    return run


def in_color(monkeypatch: pytest.MonkeyPatch, columns: int = 100) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("COLORTERM", "truecolor"), ("COLUMNS", str(columns))):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TERM", "xterm-256color")


def row_of(text: str, begin: str) -> list[str]:
    return next(re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.startswith(begin))


def test_a_run_is_curve_types_and_episodes(view: Any, tmp_path: Path) -> None:
    shown = view(recorded_run(tmp_path / "run"), "--terminal")
    assert "sdar, sdar/ALFWorld-v0" in shown and "0123456789ab" in shown
    assert "training episodes ▃█ 25.0 % to 100.0 %" in shown
    assert row_of(shown, "all ") == ["all", "25.0 % [5.0, 45.0]", "75.0 % [55.0, 95.0]", "+50.0"]
    assert row_of(shown, "cool ") == ["cool", "0.0 %", "50.0 %", "+50.0"]
    # The newest evaluation comes first.
    listed = [line.split()[0] for line in shown.splitlines() if re.match(r"(eval|train)-", line)]
    assert listed[0] == "eval-00002/0/0" and listed[4] == "train-00001/0/0" and len(listed) == 12
    assert row_of(shown, "train-00001/0/1")[1:7] == ["heat", "won", "1.00", "2", "1", "-0.125"]
    assert "\x1b" not in shown and max(map(len, shown.splitlines())) < 200


def test_filters_choose_episodes_and_compose(view: Any, tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "run")

    def listed(*options: object) -> list[str]:
        return re.findall(r"^(\S+-\d{5}/\d/\d) ", view(run, "--terminal", *options), re.MULTILINE)

    assert listed("--type", "cool", "--update", "2") == ["eval-00002/2/0", "eval-00002/3/0"]
    assert listed("--outcome", "lost", "--update", "2") == ["eval-00002/3/0"]
    assert listed("--outcome", "truncated", "--update", "1") == ["train-00001/1/0", "train-00001/1/1"]
    assert listed("--task", "APPLE") == ["eval-00002/1/0", "eval-00000/1/0"]
    assert listed("--limit", "3") == ["eval-00002/0/0", "eval-00002/1/0", "eval-00002/2/0"]
    assert "--limit shows more" in view(run, "--terminal", "--limit", "11")
    assert "--limit" not in view(run, "--terminal", "--limit", "12")


def test_an_episode_in_a_pipe_has_a_number_for_every_token(view: Any, tmp_path: Path) -> None:
    shown = view(recorded_run(tmp_path / "run"), "--terminal", "--episode", "train-00001/0/0")
    lines = shown.splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("<think>"))
    assert lines[at].split() == ["<think>", "Warm.", "</think>", "<action>", "heat", r"\n", "</action>"]
    assert lines[at + 1].split() == ["0.00", "1.50", "-", "0.001", "-2.50", "0.25", "0.00"]
    starts = [match.start() for match in re.finditer(r"\S+", lines[at])]
    assert starts == [match.start() for match in re.finditer(r"\S+", lines[at + 1])]
    for part in (
        "goal: put a hot egg",
        "admissible actions (2): heat | look",
        "the teacher's context: skill: use the microwave",
        "the teacher's context: as before",
        "turn 1, reward 0, invalid action, advantage -0.750, 40 prompt tokens, 7 response tokens",
        "verifier: no egg is hot",
        "heat.procedure (score 1.25)",
        "unknown.skill (score -)",
        "goal_condition_rate 0.5",
    ):
        assert part in shown, part
    # What an environment writes is text: neither markup nor a control character.
    assert r"You see a [bold]egg[/bold] \x1b[31m1." in shown and "\x1b" not in shown


@pytest.mark.parametrize("color", list(MEASURES))
def test_every_measure_has_a_legend_and_values(color: str, view: Any, tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "run")
    ratios = [2.0, 1.0, 0.5, 1.0, 1.0, None, 1.0]
    advantages = [1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0]
    rows = token_rows(episode(0, won=True), ratio=ratios, token_advantage=advantages)
    write_tokens(run / "tokens" / "train-00001.jsonl", rows)
    shown = view(run, "--terminal", "--episode", "train-00001/0/0", "--color", color)
    assert f"numbers under tokens: {color}" in shown
    lines = shown.splitlines()
    numbers = lines[next(n for n, line in enumerate(lines) if line.startswith("<think>")) + 1].split()
    assert len(numbers) == len(TOKENS)
    if color == "clip":
        assert numbers == ["1.00", "0.00", "-1.00", "0.00", "0.00", "-", "0.00"]
    if color == "change":
        assert numbers[:3] == ["0.69", "0.00", "-0.69"]


def test_colors_are_backgrounds_and_the_text_is_the_same(
    view: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded_run(tmp_path / "run")
    in_color(monkeypatch)
    shown = view(run, "--terminal", "--episode", "train-00001/0/0", "--color", "gap")
    # Gaps of -2.5 and beyond the range of 2 have the whole color; that of 0 has none.
    assert "\x1b[1;30;48;2;240;140;40mheat" in shown
    assert "".join(TOKENS) in SGR.sub("", shown)
    assert "-2.00" in SGR.sub("", shown).split("colors of tokens")[1].splitlines()[0]
    # Every control character is a color; those of the episode's text are escaped.
    assert "\x1b" not in SGR.sub("", shown) and r"\x1b[31m1." in shown
    monkeypatch.setenv("NO_COLOR", "1")
    plain = view(run, "--terminal", "--episode", "train-00001/0/0", "--color", "gap")
    assert "48;2" not in plain and "numbers under tokens" in plain


def test_an_episode_without_tokens_is_shown_with_its_thought(view: Any, tmp_path: Path) -> None:
    shown = view(recorded_run(tmp_path / "run"), "--terminal", "--episode", "eval-00002/0/0")
    assert "thought: Warm." in shown and "token_turns" in shown and "numbers under" not in shown


def test_an_evaluation_s_folder_is_shown_too(view: Any, tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "run")
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (run / "episodes" / "eval-00002.jsonl").rename(folder / "episodes.jsonl")
    shown = view(folder, "--terminal")
    assert "episodes/0/0" in shown
    assert find_episode(Recording(folder), "3/0")[1]["goal"] == "cool a mug"


def test_two_runs_are_compared_task_by_task(view: Any, tmp_path: Path) -> None:
    first = recorded_run(tmp_path / "first", (True, True, False, False))
    second = recorded_run(tmp_path / "second", (True, False, True, False))
    shown = view(first, second, "--terminal")
    assert row_of(shown, "all  ")[0] == "all"
    table = shown[shown.index("A: first, eval-00002") :]
    assert row_of(table, "all ") == ["all", "4", "1", "1", "1", "1", "50.0 %", "50.0 %", "+0.0"]
    assert row_of(table, "heat ") == ["heat", "2", "1", "1", "0", "0", "100.0 %", "50.0 %", "-50.0"]
    assert row_of(table, "only B")[1:6] == ["eval-00002/2/0", "lost", "won", "cool", "small/000002"]
    assert "flipped tasks: 0" in view(first, second, "--terminal", "--update", "0")
    write_batch(second, "eval-00002", [episode(number, won=True) for number in (3, 4)])
    assert "A has 3 more and B 1" in view(first, second, "--terminal")


def test_repeated_tasks_are_compared_by_their_rates(view: Any, tmp_path: Path) -> None:
    runs = [recorded_run(tmp_path / name) for name in ("first", "second")]
    for run, wins in zip(runs, ((True, False), (True, True)), strict=True):
        write_batch(run, "eval-00002", [episode(0, member, won=won) for member, won in enumerate(wins)])
    assert row_of(view(*runs, "--terminal"), "only B")[2:4] == ["1 of 2", "2 of 2"]


def test_in_a_narrow_window_every_episode_is_one_line_with_its_whole_address(
    view: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded_run(tmp_path / "run")
    types = ("pick_clean_then_place_in_recep", "pick_heat_then_place_in_recep")
    long = [
        episode(number, won=False, task_type=kind, goal="put a clean spoon in the drawer beside the sink")
        for number, kind in enumerate(types)
    ]
    write_batch(run, "eval-00002", long)
    for columns, parts in ((75, ("put a clean",)), (60, ()), (150, (types[0], "small/000000", "beside the sink"))):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = view(run, "--terminal", "--update", "2").splitlines()
        assert max(map(len, lines[:3])) <= columns
        assert lines[1].startswith("eval-00002/0/0") and lines[2].startswith("eval-00002/1/0")
        assert all(part in lines[1] for part in parts), lines[1]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--type", "heat"), "--type needs --terminal"),
        (("--terminal", "--open"), "--open has no effect with --terminal"),
        (("--terminal", "--output", "x.html"), "--output has no effect"),
        (("--terminal", "--color", "gap"), "--color needs --episode"),
        (("--terminal", "--episode", "train-00001/0/0", "--color", "hue"), "--color is one of gap, gate"),
        (("--terminal", "--outcome", "tied"), "--outcome is one of won, lost"),
        (("--terminal", "--episode", "train-00001/0/0", "--limit", "3"), "--limit is for a list"),
        (("--terminal", "--batch", "x"), "--batch needs --export"),
        (("--terminal", "--export", "inspect"), "give one of them"),
        (("--terminal", "--update", "7"), "has no episodes of update 7; it has: 0, 1, 2"),
        (("--terminal", "--type", "clean"), "task types: cool, heat"),
        (("--terminal", "--episode", "train-00009/0/0"), "it has: eval-00000, train-00001, eval-00002"),
        (("--terminal", "--episode", "train-00001/9/9"), "has no episode '9/9'"),
    ],
)
def test_what_has_no_effect_or_is_not_there_is_one_message(
    options: tuple[str, ...], told: str, view: Any, tmp_path: Path
) -> None:
    message = view(recorded_run(tmp_path / "run"), *options, code=2)
    assert told in message and message.count("\n") == 1


def test_filters_of_one_run_are_refused_for_two(view: Any, tmp_path: Path) -> None:
    runs = [recorded_run(tmp_path / name) for name in ("first", "second")]
    assert "--type is for the episodes of one run" in view(*runs, "--terminal", "--type", "heat", code=2)


def test_the_curve_has_points_intervals_and_fits_its_width() -> None:
    lines = text_curve([(0, 0.0, 0.0, 0.2), (10, 0.5, 0.3, 0.7), (20, 1.0, None, None)], 80, lambda each, plain: plain)
    assert [line[6:7].strip() for line in lines[:11]] == [""] * 8 + ["|", "|", "o"]
    assert lines[0].endswith("o") and lines[5].count("o") == 1
    assert lines[-1].split() == ["0", "20"]
    many = text_curve([(number, number / 1000, 0.0, 1.0) for number in range(1001)], 60, lambda each, plain: each)
    assert max(map(len, many)) <= 60
    assert len(text_curve([(5, 0.5, None, None)], 60, lambda each, plain: each)) == 13


def test_a_sparkline_averages_neighbors() -> None:
    assert sparkline([0.0, 0.49, 1.0], 10, lambda each, plain: plain) == "148"
    assert sparkline([0.0, 0.0, 1.0, 1.0, 0.5, 0.5], 3, lambda each, plain: plain) == "185"
