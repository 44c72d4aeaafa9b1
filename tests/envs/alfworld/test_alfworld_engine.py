"""The native engine, rule by rule, in a hand-made kitchen."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from kitchen_play import FETCH_APPLE, FETCH_KNIFE, NOTHING, play, refused

from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.world import Game, display_names, game_from_json

HELP = (
    "Available commands:\n"
    "  look:                             look around your current location\n"
    "  inventory:                        check your current inventory\n"
    "  go to (receptacle):               move to a receptacle\n"
    "  open (receptacle):                open a receptacle\n"
    "  close (receptacle):               close a receptacle\n"
    "  take (object) from (receptacle):  take an object from a receptacle\n"
    "  move (object) to (receptacle):  place an object in or on a receptacle\n"
    "  examine (something):              examine a receptacle or an object\n"
    "  use (object):                     use an object\n"
    "  heat (object) with (receptacle):  heat an object using a receptacle\n"
    "  clean (object) with (receptacle): clean an object using a receptacle\n"
    "  cool (object) with (receptacle):  cool an object using a receptacle\n"
    "  slice (object) with (object):     slice an object using a sharp object\n"
)


def state(engine: Engine) -> dict[str, Any]:
    return copy.deepcopy(engine.__getstate__())


# The start


def test_the_introduction_names_all_receptacles_numbers_descending(engine: Engine) -> None:
    assert engine.intro() == (
        "-= Welcome to TextWorld, ALFRED! =-\n\n"
        "You are in the middle of a room. Looking quickly around you, you see a cabinet 3, a cabinet 2, a cabinet 1, "
        "a countertop 2, a countertop 1, a diningtable 1, a drawer 1, a fridge 1, a microwave 1, a shelf 1, "
        "a sidetable 1, a sinkbasin 1, a sink 1, and a towelholder 1.\n\n"
        "Your task is to: put a apple in shelf."
    )


def test_in_the_middle_of_the_room_there_is_nothing_to_do_but_go(engine: Engine) -> None:
    places = [receptacle.name for receptacle in engine.game.receptacles]
    assert engine.admissible() == tuple(sorted(["help", "inventory", "look", *(f"go to {place}" for place in places)]))
    assert play(engine, "look") == "You are in the middle of a room. Looking quickly around you, you see nothing."
    assert play(engine, "inventory") == "You are not carrying anything."
    assert play(engine, "help") == HELP


def test_names_are_numbered_downwards_in_the_order_of_their_ids() -> None:
    ids = ["Cabinet_bar__plus_00", "Cabinet_bar__minus_09", "Cabinet_bar_00", "cabinet_bar__minus_01", "Apple_bar_1"]
    assert display_names(ids) == {
        "Cabinet_bar_00": "cabinet 4",  # a figure sorts before `_`
        "cabinet_bar__minus_01": "cabinet 3",
        "Cabinet_bar__minus_09": "cabinet 2",
        "Cabinet_bar__plus_00": "cabinet 1",
        "Apple_bar_1": "apple 1",
    }


def test_a_basin_is_another_thing_than_what_it_belongs_to() -> None:
    ids = ["Sink_bar_1", "Sink_bar_2_bar_SinkBasin", "Bathtub_bar_1_bar_BathtubBasin"]
    assert list(display_names(ids).values()) == ["sink 1", "sinkbasin 1", "bathtubbasin 1"]


def test_commands_come_in_plain_string_order(make_kitchen: Callable[..., Game]) -> None:
    shelves = [[f"Shelf_bar_{number:02}", "ShelfType", number, 0, 0] for number in range(1, 12)]
    engine = Engine(make_kitchen(receptacles=shelves, objects=[]))
    assert engine.admissible()[:4] == ("go to shelf 1", "go to shelf 10", "go to shelf 11", "go to shelf 2")


# Contents of receptacles


@pytest.mark.parametrize(
    ("commands", "answer"),
    [
        (["go to shelf 1"], "You arrive at shelf 1. On the shelf 1, you see nothing."),
        (["go to countertop 1"], "You arrive at countertop 1. On the countertop 1, you see a mug 1."),
        (["go to diningtable 1"], "You arrive at diningtable 1. On the diningtable 1, you see a knife 1, and a mug 1."),
        (
            ["go to countertop 2"],
            "You arrive at countertop 2. On the countertop 2, you see a apple 1, a bowl 1, and a fork 1.",
        ),
        (["go to cabinet 2"], "You arrive at cabinet 2. The cabinet 2 is closed."),
        (["go to cabinet 3"], "You arrive at cabinet 3. The cabinet 3 is open. In it, you see nothing."),
        (["go to fridge 1", "open fridge 1"], "You open the fridge 1. The fridge 1 is open. In it, you see a egg 1."),
        (
            ["go to cabinet 1", "open cabinet 1"],
            "You open the cabinet 1. The cabinet 1 is open. In it, you see a lettuce 1, and a mug 2.",
        ),
        (["go to cabinet 3", "close cabinet 3"], "You close the cabinet 3."),
        (["go to countertop 1", "examine shelf 1"], "On the shelf 1, you see nothing."),
        (["go to cabinet 2", "examine cabinet 2"], "The cabinet 2 is closed."),
        (["go to cabinet 3", "examine cabinet 3"], "The cabinet 3 is open. In it, you see nothing."),
        ([*FETCH_APPLE], "You pick up the apple 1 from the countertop 2."),
        ([*FETCH_APPLE, "inventory"], "You are carrying: a apple 1."),
        ([*FETCH_APPLE, "move apple 1 to shelf 1"], "You move the apple 1 to the shelf 1."),
    ],
)
def test_answers(engine: Engine, commands: Sequence[str], answer: str) -> None:
    assert play(engine, *commands) == answer


def test_what_is_put_back_takes_its_old_position(engine: Engine) -> None:
    play(engine, *FETCH_APPLE, "go to fridge 1", "open fridge 1", "move apple 1 to fridge 1")
    assert play(engine, "examine fridge 1").endswith("you see a apple 1, and a egg 1.")
    play(engine, "take egg 1 from fridge 1", "go to countertop 2")
    assert play(engine, "examine countertop 2").endswith("you see a bowl 1, and a fork 1.")
    play(engine, "move egg 1 to countertop 2", "take bowl 1 from countertop 2", "move bowl 1 to countertop 2")
    assert play(engine, "examine countertop 2").endswith("you see a bowl 1, a egg 1, and a fork 1.")


def test_closed_is_closed_for_taking_and_moving(engine: Engine) -> None:
    play(engine, "go to cabinet 1")
    assert refused(engine, "take mug 2 from cabinet 1")
    play(engine, "open cabinet 1", "take mug 2 from cabinet 1", "close cabinet 1")
    assert refused(engine, "move mug 2 to cabinet 1")
    assert refused(engine, "close cabinet 1")
    play(engine, "open cabinet 1", "move mug 2 to cabinet 1")
    assert refused(engine, "open cabinet 1")


def test_only_one_thing_is_carried_and_only_what_a_place_accepts_goes_there(engine: Engine) -> None:
    play(engine, *FETCH_KNIFE)
    assert refused(engine, "take mug 1 from diningtable 1")
    play(engine, "go to shelf 1")
    assert refused(engine, "move knife 1 to shelf 1")  # no shelf accepts knives
    assert "move knife 1 to countertop 1" in engine.admissible()


def test_only_what_is_held_can_be_examined(engine: Engine) -> None:
    play(engine, "go to countertop 2")
    assert refused(engine, "examine apple 1")
    play(engine, "take apple 1 from countertop 2")
    assert play(engine, "examine apple 1") == "There's nothing special about apple 1."


# Several receptacles at one place


def test_neighbours_are_used_without_going(engine: Engine) -> None:
    play(engine, "go to sidetable 1")
    assert refused(engine, "go to drawer 1")
    assert refused(engine, "go to sidetable 1")
    assert play(engine, "open drawer 1").endswith("you see a apple 2.")
    play(engine, "take apple 2 from drawer 1", "move apple 2 to sidetable 1")
    assert play(engine, "look").startswith("You are facing the drawer 1, and sidetable 1. Next to it, you see ")


def test_next_to_it_is_what_went_from_one_neighbour_to_another(engine: Engine) -> None:
    facing = "You are facing the countertop 2, countertop 1, and shelf 1. Next to it, you see "
    assert play(engine, "go to fridge 1", "look") == "You are facing the fridge 1. Next to it, you see nothing."
    assert play(engine, "go to shelf 1", "look") == f"{facing}nothing."
    play(engine, "take apple 1 from countertop 2")
    assert play(engine, "look") == f"{facing}nothing."  # in the hand it is beside nothing
    play(engine, "move apple 1 to shelf 1")
    assert play(engine, "look") == f"{facing}a apple 1."
    play(engine, "take fork 1 from countertop 2", "move fork 1 to countertop 1")
    assert play(engine, "look") == f"{facing}a apple 1, and a fork 1."
    play(engine, "take apple 1 from shelf 1", "move apple 1 to countertop 1")
    assert play(engine, "look") == f"{facing}a apple 1, a apple 1, and a fork 1."  # once for each that it left
    play(engine, "take apple 1 from countertop 1", "move apple 1 to countertop 2")
    assert play(engine, "look") == f"{facing}a apple 1, a apple 1, and a fork 1."  # the shelf and the other countertop
    play(engine, "take fork 1 from countertop 1", "move fork 1 to countertop 2", "take apple 1 from countertop 2")
    assert play(engine, "look") == f"{facing}a fork 1."
    play(engine, "go to fridge 1", "open fridge 1", "move apple 1 to fridge 1", "go to shelf 1")
    assert play(engine, "look") == f"{facing}a fork 1."  # carried away, the apple is no longer beside


# Parsing of commands


@pytest.mark.parametrize("text", ["  look", "look\n", "\tlook\r\n", "\u00a0look\u3000", "\x1flook", "look\x85"])
def test_white_space_around_a_command_is_dropped(engine: Engine, text: str) -> None:
    assert engine.act(text) == (engine.act("look")[0], True)


@pytest.mark.parametrize(
    "text",
    ["", " ", "\u200blook", "Look", "look.", "'look'", "go  to countertop 1", "go to countertop",
     "go to the countertop 1", "go to countertop 01", "go to countertop \uff11", "go to countertop 3",
     "take apple 1 from countertop 2", "put apple 1 in/on shelf 1", "look\nlook", "\x00", "\ud800", "{1/0}",
     "open shelf 1", "go to " + "a" * 100_000],
)  # fmt: skip
def test_anything_else_answers_nothing_happens_and_changes_nothing(engine: Engine, text: str) -> None:
    play(engine, *FETCH_KNIFE)
    admissible, before = engine.admissible(), state(engine)
    assert engine.act(text) == (NOTHING, False)
    assert state(engine) == before
    assert engine.admissible() == admissible


# Copies


def test_a_game_is_shared_and_never_changed(make_kitchen: Callable[..., Game]) -> None:
    game = make_kitchen()
    before = game.to_json()
    play(Engine(game), *FETCH_KNIFE, "go to drawer 1", "slice apple 2 with knife 1", "open drawer 1")
    assert game.to_json() == before
    assert Engine(game).admissible() == Engine(game_from_json(before)).admissible()


def test_a_pickled_engine_goes_on_where_it_was(engine: Engine) -> None:
    play(engine, *FETCH_KNIFE, "go to drawer 1")
    engine.admissible()
    twin = pickle.loads(pickle.dumps(engine))
    for command in ("look", "slice apple 2 with knife 1", "open drawer 1", "move knife 1 to drawer 1", "help"):
        assert twin.act(command) == engine.act(command)
        assert twin.admissible() == engine.admissible()
    play(twin, "take apple 2 from drawer 1")
    assert engine.held is None
