"""Parity with ALFWorld's original engine: identical texts, admissible commands and `won`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdar_gym import extras
from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.export import to_tw_pddl
from sdar_gym.envs.alfworld.generator import generate_game
from sdar_gym.envs.alfworld.pddl import parse_game
from sdar_gym.envs.alfworld.reference import Difference, ReferenceEngine, compare, load_file, record_commands
from sdar_gym.envs.alfworld.world import Game, GameFormatError, game_from_json

GENERATED = ("full/valid_unseen/000004", "small/train/000002", "small/valid_seen/000009")
GARBAGE = (
    "", " ", "LOOK", "look.", " inventory\n", "\u00a0help", "\u200bhelp", "go  to fridge 1", "go to the fridge 1",
    "go to fridge 01", "go to fridge 99", "put mug 1 in/on shelf 1", "use microwave 1", "take", "{1/0}", "#task#",
    "\ud7ff",
)  # fmt: skip
# All oddities of the kitchen: adjacent receptacles, objects in two places, closed doors, order of changes, and leaving
# a won state.
KITCHEN_TOUR = """\
look|go to countertop 1|look|examine shelf 1|take apple 1 from countertop 2|look|move apple 1 to shelf 1|look
take fork 1 from countertop 2|move fork 1 to countertop 1|take apple 1 from shelf 1|move apple 1 to countertop 1|look
take apple 1 from countertop 1|move apple 1 to countertop 2|look|take mug 1 from countertop 1|examine mug 1
move mug 1 to countertop 2|look
go to diningtable 1|take mug 1 from diningtable 1|move mug 1 to diningtable 1|look|take knife 1 from diningtable 1
go to sidetable 1|slice apple 2 with knife 1|use desklamp 1|use floorlamp 1|use desklamp 1|move knife 1 to sidetable 1
look|open drawer 1|take apple 2 from drawer 1|examine apple 2|go to microwave 1|heat apple 2 with microwave 1
examine apple 2|go to sink 1|clean apple 2 with sink 1|examine apple 2|go to fridge 1|cool apple 2 with fridge 1
examine apple 2|open fridge 1|move apple 2 to fridge 1|take egg 1 from fridge 1|examine egg 1|go to countertop 2
move egg 1 to countertop 2|take bowl 1 from countertop 2|examine bowl 1|move bowl 1 to shelf 1|look|go to cabinet 3
close cabinet 3|help"""


def tour(game: Game, seed: int) -> list[str]:
    """The walkthrough, fifteen random admissible commands, and garbage."""
    return [*record_commands(game, len(game.walkthrough) + 15, seed), *GARBAGE]


def test_a_recording_is_the_walkthrough_and_then_admissible_commands() -> None:
    game = generate_game("small/train/000002")
    commands = record_commands(game, 60, seed=1)
    assert commands[: len(game.walkthrough)] == game.walkthrough
    assert len(commands) == 60
    assert commands == record_commands(game, 60, seed=1) != record_commands(game, 60, seed=2)
    assert record_commands(game, 2, seed=1) == game.walkthrough[:2]
    engine = Engine(game)
    for command in commands:
        assert engine.act(command)[1]


@pytest.mark.parametrize("act", [to_tw_pddl, ReferenceEngine, lambda game: compare(game, ())])
def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, act: Callable[[Game], Any]) -> None:
    monkeypatch.setitem(extras.EXTRAS, "alfworld", ("json", "no_such_module"))
    with pytest.raises(extras.MissingExtraError, match=r'missing: no_such_module.*pip install "sdar-gym\[alfworld\]"'):
        act(generate_game("small/train/000002"))


@pytest.mark.reference
@pytest.mark.parametrize("task_id", GENERATED)
def test_generated_games_are_the_same_on_both(task_id: str) -> None:
    game = generate_game(task_id)
    assert compare(game, tour(game, seed=3)) == []


@pytest.mark.reference
@pytest.mark.data
@pytest.mark.parametrize("number", [1, 6, 10])
def test_real_games_are_the_same_on_both(sample_games: Path, number: int) -> None:
    file = sorted(sample_games.glob("json_2.1.1/valid_seen/*/*/game.tw-pddl"))[number]
    game = load_file(file)
    assert game.task_id == file.parent.relative_to(sample_games / "json_2.1.1").as_posix()
    assert compare(file, tour(game, seed=number)) == []


@pytest.mark.reference
def test_the_kitchen_of_oddities_is_the_same_on_both(make_kitchen: Callable[..., Game]) -> None:
    game = make_kitchen()
    engine = Engine(game)
    commands = KITCHEN_TOUR.replace("\n", "|").split("|")
    refused = [command for command in commands if not engine.act(command)[1]]
    assert refused == ["use floorlamp 1"]
    assert compare(game, commands) == []


@pytest.mark.reference
def test_differences_are_found(make_kitchen: Callable[..., Game], tmp_path: Path) -> None:
    fields = json.loads(to_tw_pddl(make_kitchen()))
    fields["grammar"] = fields["grammar"].replace("You are not carrying anything.", "Your hands are empty.")
    fields["pddl_domain"] = fields["pddl_domain"].replace("(opened ?r)\n                (checked ?r)", "(checked ?r)")
    file = tmp_path / "game.tw-pddl"
    file.write_text(json.dumps(fields))
    found = compare(file, ["look", "inventory", "go to fridge 1", "open fridge 1"])
    texts = "You are not carrying anything.", "Your hands are empty."
    assert found[0] == Difference(2, "inventory", "observation", *texts)
    assert {(difference.step, difference.what) for difference in found[1:]} == {(4, "observation"), (4, "admissible")}
    assert set(found[-1].native) - set(found[-1].reference) == {"close fridge 1", "take egg 1 from fridge 1"}


@pytest.mark.reference
def test_the_caller_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    arguments, output = list(sys.argv), sys.stdout
    game = generate_game("small/train/000002")
    engine = ReferenceEngine(game)
    start = engine.intro(), engine.admissible()
    for command in game.walkthrough:
        assert not engine.won
        assert engine.act(command)[1]
    assert engine.won
    assert engine.act("fly") == ("Nothing happens.", False)
    engine.reset()
    assert (engine.intro(), engine.admissible()) == start
    assert not engine.won
    engine.close()
    engine.close()
    with pytest.raises(ValueError, match="closed"):
        engine.act("look")
    assert sys.argv == arguments
    assert sys.stdout is output
    assert "ALFWORLD_DATA" not in os.environ


@pytest.mark.reference
@pytest.mark.parametrize("task_id", [*GENERATED, "full/train/000017", "small/train/000001"])
def test_a_generated_game_survives_the_file_format(task_id: str) -> None:
    game = generate_game(task_id)
    assert parse_game(to_tw_pddl(game), task_id, "export") == game


@pytest.mark.reference
@pytest.mark.data
def test_a_real_game_survives_the_file_format(sample_games: Path) -> None:
    for file in sorted(sample_games.glob("json_2.1.1/valid_seen/*/*/game.tw-pddl")):
        game, content = load_file(file), json.loads(file.read_text())
        written = json.loads(to_tw_pddl(game))
        assert parse_game(json.dumps(written), game.task_id, "export") == game
        assert written["pddl_domain"].split() == content["pddl_domain"].split()  # the real games' own, sinks and all
        assert written["solvable"] is True


@pytest.mark.reference
def test_the_kitchen_survives_the_file_format(make_kitchen: Callable[..., Game]) -> None:
    for goal in (
        ["light", "AppleType", "", "DeskLampType", [], [], 1],
        ["place", "AppleType", "FridgeType", "", ["isCool", "isSliced"], ["coolable"], 2],
    ):
        game = make_kitchen(goal)
        parsed = parse_game(to_tw_pddl(game), game.task_id, "export")
        assert parsed.goal == game.goal
        assert parsed.receptacles == game.receptacles
        assert parsed.objects == game.objects


@pytest.mark.reference
@pytest.mark.parametrize(
    ("row", "position", "value", "complaint"),
    [
        ("receptacles", 0, "Cabinet 1", "'Cabinet 1' in train/kitchen/1 is not a PDDL name"),
        ("receptacles", 0, "Cabinet_1", "'Cabinet_1' in train/kitchen/1 does not have ALFRED's format"),
        ("receptacles", 0, "SinkBasin_bar_1", "'SinkBasin_bar_1' in .* does not have ALFRED's format"),
        ("receptacles", 0, "Apple_bar__PLUS_01_dot_00", "have the same id; PDDL ignores case"),
        ("receptacles", 0, "Mug_bar_1", "share a type, and so would share numbers"),
        ("receptacles", 1, "AppleType", "'AppleType' as the type of a receptacle and of an object"),
        ("objects", 1, "Apple)Type", "is not a PDDL name"),
    ],
)
def test_names_that_the_format_cannot_hold_are_refused(
    make_kitchen: Callable[..., Game], row: str, position: int, value: str, complaint: str
) -> None:
    content = make_kitchen().to_json()
    content[row][0][position] = value
    with pytest.raises(GameFormatError, match=complaint):
        to_tw_pddl(game_from_json(content))


@pytest.mark.reference
@pytest.mark.parametrize("task", ["put {1}.", "put [a].", "a #task#.", 'an "apple".', "a\nb", "a\\n", "a|b", "a;"])
def test_a_sentence_that_would_be_run_is_refused(make_kitchen: Callable[..., Game], task: str) -> None:
    with pytest.raises(GameFormatError, match="cannot stand in a grammar"):
        to_tw_pddl(make_kitchen(task=task))


@pytest.mark.reference
def test_an_odd_but_harmless_sentence_is_said_by_both(make_kitchen: Callable[..., Game]) -> None:
    game = make_kitchen(task="  // Put (an) apple's half, 50% é中 on the shelf: now!  ")
    assert compare(game, ["look"]) == []
