"""State changes in the native engine (heating, slicing, lamps, …), and the win condition."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kitchen_play import FETCH_APPLE, FETCH_KNIFE, FETCH_MUG, play, refused

from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.world import Game, game_from_json

# State changes


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ("", "There's nothing special about apple 2."),
        ("slice", "This is a sliced apple 2."),
        ("cool", "This is a cold apple 2."),
        ("clean", "This is a clean apple 2."),
        ("heat", "This is a hot apple 2."),
        ("cool clean", "This is a cool and clean apple 2."),
        ("heat clean", "This is a hot and clean apple 2."),
        ("slice cool", "This is a cool sliced apple 2."),
        ("slice heat", "This is a hot sliced apple 2."),
        ("slice clean", "This is a clean sliced apple 2."),
        ("slice cool clean", "This is a cool and clean sliced apple 2."),
        ("slice clean heat", "This is a hot and clean sliced apple 2."),
        ("heat cool", "This is a cold apple 2."),
        ("cool heat", "This is a hot apple 2."),
        ("clean heat cool", "This is a cool and clean apple 2."),
    ],
)
def test_examining_tells_what_was_done_to_a_thing(engine: Engine, changes: str, answer: str) -> None:
    if "slice" in changes:
        play(engine, *FETCH_KNIFE, "go to drawer 1", "slice apple 2 with knife 1", "move knife 1 to sidetable 1")
    else:
        play(engine, "go to drawer 1")
    play(engine, "open drawer 1", "take apple 2 from drawer 1")
    devices = {"heat": "microwave 1", "cool": "fridge 1", "clean": "sinkbasin 1"}
    for verb in changes.removeprefix("slice").split():
        done = play(engine, f"go to {devices[verb]}", f"{verb} apple 2 with {devices[verb]}")
        assert done == f"You {verb} the apple 2 using the {devices[verb]}."
    assert play(engine, "examine apple 2") == answer
    assert play(engine, "inventory") == "You are carrying: a apple 2."


def test_a_thing_that_holds_others_shows_them_whatever_was_done_to_it(engine: Engine) -> None:
    play(engine, "go to countertop 2", "take bowl 1 from countertop 2", "go to microwave 1")
    play(engine, "heat bowl 1 with microwave 1")
    assert play(engine, "examine bowl 1") == "This is a normal bowl 1. In it, you see a egg 1, and a fork 1."
    play(engine, "go to countertop 1", "move bowl 1 to countertop 1", "take mug 1 from countertop 1")
    assert play(engine, "examine mug 1") == "This is a normal mug 1. In it, you see nothing."


def test_what_is_cold_from_the_start_says_so(engine: Engine) -> None:
    play(engine, "go to fridge 1", "open fridge 1", "take egg 1 from fridge 1")
    assert play(engine, "examine egg 1") == "This is a cold egg 1."


def test_heating_works_with_the_door_open_or_closed_and_again(engine: Engine) -> None:
    play(engine, *FETCH_APPLE, "go to microwave 1", "heat apple 1 with microwave 1", "open microwave 1")
    assert play(engine, "heat apple 1 with microwave 1") == "You heat the apple 1 using the microwave 1."


def test_devices_do_their_own_change_to_what_can_be_changed_and_is_held(engine: Engine) -> None:
    play(engine, "go to microwave 1")
    assert refused(engine, "heat apple 1 with microwave 1")
    play(engine, *FETCH_APPLE, "go to microwave 1")
    assert refused(engine, "cool apple 1 with microwave 1")
    assert refused(engine, "heat apple 1 with fridge 1")
    play(engine, "go to countertop 2", "move apple 1 to countertop 2", "take fork 1 from countertop 2")
    play(engine, "go to microwave 1")
    assert refused(engine, "heat fork 1 with microwave 1")
    assert play(engine, "go to sink 1", "clean fork 1 with sink 1") == "You clean the fork 1 using the sink 1."


def test_slicing_reaches_into_closed_receptacles_of_this_place_only(engine: Engine) -> None:
    play(engine, "go to sidetable 1", "take butterknife 1 from sidetable 1")
    sliced = play(engine, "slice apple 2 with butterknife 1")  # in the closed drawer beside
    assert sliced == "You sliced the apple 2 with the butterknife 1."
    assert refused(engine, "slice apple 1 with butterknife 1")  # elsewhere
    assert play(engine, "slice apple 2 with butterknife 1") == sliced
    assert play(engine, "open drawer 1").endswith("you see a apple 2.")  # the listing does not tell


def test_slicing_needs_a_knife_in_the_hand(engine: Engine) -> None:
    play(engine, *FETCH_APPLE, "move apple 1 to countertop 1", "take fork 1 from countertop 2")
    assert refused(engine, "slice apple 1 with fork 1")
    assert refused(engine, "slice apple 1 with knife 1")


def test_a_lamp_is_only_ever_turned_on(engine: Engine) -> None:
    play(engine, "go to sidetable 1")
    assert play(engine, "use desklamp 1") == "You turn on the desklamp 1."
    assert play(engine, "use desklamp 1") == "You turn on the desklamp 1."
    for command in ("use floorlamp 1", "take desklamp 1 from sidetable 1", "examine desklamp 1"):
        assert refused(engine, command)  # the floor lamp stands on nothing, lamps are not carried
    play(engine, "go to shelf 1")
    assert refused(engine, "use desklamp 1")


def test_a_thing_listed_in_two_receptacles_stays_in_the_other(engine: Engine) -> None:
    play(engine, *FETCH_MUG)
    assert play(engine, "go to diningtable 1").endswith("you see a knife 1, and a mug 1.")
    assert refused(engine, "take mug 1 from diningtable 1")  # it is in the hand already
    play(engine, "move mug 1 to diningtable 1", "take mug 1 from diningtable 1")
    assert play(engine, "examine diningtable 1") == "On the diningtable 1, you see a knife 1."


# Winning


def test_winning_can_be_undone_and_the_world_goes_on(engine: Engine) -> None:
    play(engine, *FETCH_APPLE)
    assert not engine.won
    play(engine, "move apple 1 to shelf 1")
    assert engine.won
    play(engine, "look")
    assert engine.won
    play(engine, "take apple 1 from shelf 1")
    assert not engine.won


def test_a_changed_thing_is_wanted_changed(make_kitchen: Callable[..., Game]) -> None:
    engine = Engine(make_kitchen(["place", "AppleType", "ShelfType", "", ["isHot"], ["heatable"], 1]))
    play(engine, *FETCH_APPLE, "move apple 1 to shelf 1")
    assert not engine.won
    play(engine, "take apple 1 from shelf 1", "go to microwave 1", "heat apple 1 with microwave 1", "go to fridge 1")
    play(engine, "cool apple 1 with fridge 1", "go to shelf 1", "move apple 1 to shelf 1")
    assert not engine.won  # cooling undid it
    play(engine, "take apple 1 from shelf 1", "go to microwave 1", "heat apple 1 with microwave 1", "go to shelf 1")
    assert not engine.won
    play(engine, "move apple 1 to shelf 1")
    assert engine.won


def test_what_cannot_be_changed_does_not_count_as_changed(make_kitchen: Callable[..., Game]) -> None:
    content = make_kitchen(["place", "ForkType", "CounterTopType", "", ["isCool"], ["coolable"], 1]).to_json()
    (fork,) = (row for row in content["objects"] if row[1] == "ForkType")
    fork[3].append("isCool")
    assert not Engine(game_from_json(content)).won
    fork[2].append("coolable")
    assert Engine(game_from_json(content)).won


def test_a_goal_can_be_reached_with_the_thing_in_the_hand(make_kitchen: Callable[..., Game]) -> None:
    engine = Engine(make_kitchen(["place", "MugType", "DiningTableType", "", ["isHot"], ["heatable"], 1]))
    play(engine, *FETCH_MUG, "go to microwave 1", "heat mug 1 with microwave 1")
    assert engine.won  # the dining table lists it all the while


def test_two_things_are_wanted_in_one_receptacle(make_kitchen: Callable[..., Game]) -> None:
    engine = Engine(make_kitchen(["place", "AppleType", "CounterTopType", "", [], [], 2]))
    play(engine, "go to drawer 1", "open drawer 1", "take apple 2 from drawer 1", "go to countertop 1")
    play(engine, "move apple 2 to countertop 1")
    assert not engine.won  # apple 1 is on the other countertop
    play(engine, "take apple 2 from countertop 1", "move apple 2 to countertop 2")
    assert engine.won


@pytest.mark.parametrize("lamp_first", [True, False])
def test_light_needs_the_thing_in_the_hand_beside_the_lamp_that_is_on(
    make_kitchen: Callable[..., Game], lamp_first: bool
) -> None:
    engine = Engine(make_kitchen(["light", "AppleType", "", "DeskLampType", [], [], 1]))
    if lamp_first:
        play(engine, "go to sidetable 1", "use desklamp 1")
        assert not engine.won
        play(engine, *FETCH_APPLE)
        assert not engine.won
        play(engine, "go to sidetable 1")
    else:
        play(engine, *FETCH_APPLE, "go to sidetable 1")
        assert not engine.won
        play(engine, "use desklamp 1")
    assert engine.won
    play(engine, "move apple 1 to sidetable 1")
    assert not engine.won
