"""Parser of `.tw-pddl` files: valid files, errors, and code that is never executed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.pddl import parse_game
from sdar_gym.envs.alfworld.world import GameFormatError, Goal

ID = "train/fetch/trial_1"


def test_a_file_is_read_as_it_is_meant(pddl_fields: dict[str, Any]) -> None:
    game = parse_game(json.dumps(pddl_fields), ID, "here")
    assert game.task == 'put two "red" apple in fridge.'
    assert game.task_type == "pick_two_obj_and_place"  # from the goal: the id does not tell
    assert game.goal == Goal("place", "AppleType", "FridgeType", count=2)
    assert [receptacle.name for receptacle in game.receptacles] == ["cabinet 2", "cabinet 1", "fridge 1"]
    assert [(thing.name, thing.inside) for thing in game.objects] == [
        ("apple 2", (2,)),
        ("apple 1", (1,)),
        ("mug 1", ()),
    ]
    assert game.objects[0].states == {"isCool"}
    assert game.objects[1].flags == {"pickupable", "heatable"}
    assert game.can_contain == {("FridgeType", "AppleType")}
    engine = Engine(game)
    for command in game.walkthrough:
        assert not engine.won
        engine.act(command)
    assert engine.won


def test_the_task_type_is_read_off_the_id_where_it_says_so(pddl_fields: dict[str, Any]) -> None:
    game = parse_game(json.dumps(pddl_fields), "train/pick_two_obj_and_place-Apple-None-Fridge-1/trial_1", "here")
    assert game.task_type == "pick_two_obj_and_place"
    assert game.task_id.endswith("trial_1")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text[:-40], "Unterminated string"),
        (lambda text: "", "Expecting value"),
        (lambda text: text.encode() + b"\xff", "it is not UTF-8 from byte"),
        (lambda text: f"[{text}]", "it is not a JSON object"),
        (lambda text: "[" * 100_000, "its JSON is nested too deeply"),
        (lambda text: text.replace("pddl_problem", "problem"), "it has no field 'pddl_problem'"),
        (lambda text: text.replace('"grammar"', '"words"'), "it has no field 'grammar'"),
    ],
)
def test_a_damaged_file_is_refused(
    pddl_fields: dict[str, Any], change: Callable[[str], str | bytes], complaint: str
) -> None:
    with pytest.raises(GameFormatError, match=f"^here is not a readable .tw-pddl.*{complaint}.*Download it again"):
        parse_game(change(json.dumps(pddl_fields)), ID, "here")


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        ("grammar", "Your task is to: ", "Do: "),
        ("grammar", None, None),
        ("pddl_problem", None, None),
        ("pddl_problem", None, 7),
        ("pddl_problem", "(:objects", "(:things"),
        ("pddl_problem", "(:init", "(:start"),
        ("pddl_problem", "(:goal", "(:aim"),
        ("pddl_problem", "- receptacle", "- place"),
        ("pddl_problem", "- object", "- thing"),
        ("pddl_problem", "(atLocation agent1 loc_bar_0)", ""),
        ("pddl_problem", "(atLocation agent1 loc_bar_0)", "(atLocation agent1 loc_bar_9)"),
        ("pddl_problem", "(receptacleAtLocation Fridge_bar__plus_01 loc_bar_1)", ""),
        ("pddl_problem", "(inReceptacle Apple_bar_00 Fridge_bar__plus_01)", "(inReceptacle Apple_bar_00 Sofa_bar_1)"),
        ("pddl_problem", "(objectType Apple_bar_00 AppleType)", "(objectType Apple_bar_00)"),
    ],
)
def test_an_incomplete_world_is_refused(pddl_fields: dict[str, Any], field: str, old: str | None, new: object) -> None:
    if old is not None:
        assert old in pddl_fields[field]
        new = pddl_fields[field].replace(old, new)
    with pytest.raises(GameFormatError, match=r"^here does not describe a playable ALFWorld game: .*Download it again"):
        parse_game(json.dumps({**pddl_fields, field: new}), ID, "here")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("pddl_problem", 7, "its pddl_problem is not a text but 7"),
        ("grammar", ["x"], r"its grammar is not a text but \['x'\]"),
        ("grammar", '"rhs": "Your task is to: \\q"', "its task sentence is not a JSON string"),
        ("walkthrough", "look", "its walkthrough is not a list of texts"),
        ("walkthrough", [1], "its walkthrough is not a list of texts"),
        ("walkthrough", 5, "its walkthrough is not a list of texts"),
    ],
)
def test_fields_of_another_type_are_named(pddl_fields: dict[str, Any], field: str, value: object, says: str) -> None:
    with pytest.raises(GameFormatError, match=says):
        parse_game(json.dumps({**pddl_fields, field: value}), ID, "here")


def test_what_is_missing_in_a_world_is_named(pddl_fields: dict[str, Any]) -> None:
    def said(old: str, new: str) -> str:
        problem = pddl_fields["pddl_problem"].replace(old, new)
        with pytest.raises(GameFormatError) as refused:
            parse_game(json.dumps({**pddl_fields, "pddl_problem": problem}), ID, "here")
        return str(refused.value)

    assert "it mentions 'loc_bar_9' without declaring" in said("agent1 loc_bar_0)", "agent1 loc_bar_9)")
    assert "it does not say where the agent is" in said("(atLocation agent1 loc_bar_0)", "")
    assert "wrong number of arguments" in said("(objectType Apple_bar_00 AppleType)", "(objectType Apple_bar_00)")
    assert "has no section (:init" in said("(:init", "(:start")


@pytest.mark.parametrize("kind", ["receptacle", "object", "location", "a" * 300])
def test_a_name_without_end_is_refused(pddl_fields: dict[str, Any], kind: str) -> None:
    # A quadratic pattern would take hours.
    problem = pddl_fields["pddl_problem"].replace(
        "(:objects", f"(:objects {'a' * 1_000_000} {'b' * 900_000}_bar_1 - {kind} "
    )
    with pytest.raises(GameFormatError, match="declares a name of more than 200 letters: 'bbb"):
        parse_game(json.dumps({**pddl_fields, "pddl_problem": problem}), ID, "here")


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        *(("(:objects", piece) for piece in ("- ", "a - ", "\n", "ab - ab\t")),
        *(("(:init", piece) for piece in ("(", "(a ", "a ", " ", "(a b) (a", "(a\t\n")),
        *(("(:init (x", piece) for piece in ("b ", "b  \n", " ", "b")),
        *(("(:goal", piece) for piece in ("(", "(not ", "(or", "( ", "(a b ", "(not(")),
        *(("(:goal (x", piece) for piece in ("b ", " ", "b")),
    ],
)
def test_hostile_problems_are_read_in_linear_time(pddl_fields: dict[str, Any], start: str, piece: str) -> None:
    # Two megabytes, the size limit: a quadratic algorithm would exceed the time limit.
    section = start.partition(" ")[0]
    problem = pddl_fields["pddl_problem"].replace(section, f"{start} {piece * (2_000_000 // len(piece))} ")
    try:
        parse_game(json.dumps({**pddl_fields, "pddl_problem": problem}), ID, "here")
    except GameFormatError as error:
        assert len(str(error)) < 1000


@pytest.mark.parametrize("piece", ['"rhs": ', '"rhs": "Your task is to: ', '"rhs": "Your task is to: a\\', '"rhs"   '])
def test_hostile_grammars_are_read_in_linear_time(pddl_fields: dict[str, Any], piece: str) -> None:
    try:
        parse_game(json.dumps({**pddl_fields, "grammar": piece * (2_000_000 // len(piece))}), ID, "here")
    except GameFormatError as error:
        assert "task sentence" in str(error)


def test_half_a_character_is_replaced_where_a_game_is_read(pddl_fields: dict[str, Any]) -> None:
    fields = {
        **pddl_fields,
        "grammar": pddl_fields["grammar"].replace("apple in", "\\ud83d apple \ude00 in"),
        "pddl_problem": pddl_fields["pddl_problem"].replace("Mug_bar", "M\ud800ug_bar"),
        "walkthrough": ["look \ud800"],
    }
    game = parse_game(json.dumps(fields), ID, "here")
    assert game.task == 'put two "red" \ufffd apple \ufffd in fridge.'
    assert "m\ufffdug 1" in {thing.name for thing in game.objects}
    assert game.walkthrough == ("look \ufffd",)


def test_a_message_is_one_harmless_line(pddl_fields: dict[str, Any]) -> None:
    with pytest.raises(GameFormatError) as refused:
        parse_game("{", ID, "bad\x1b[2J\nname")
    assert str(refused.value).startswith("bad\\x1b[2J")
    goal = pddl_fields["pddl_problem"].partition("(:goal")[0] + "(:goal (\x1b[2J" + "x" * 5000
    with pytest.raises(GameFormatError, match="none of ALFWorld's six") as refused:
        parse_game(json.dumps({**pddl_fields, "pddl_problem": goal}), ID, "here")
    assert "\x1b" not in str(refused.value) and len(str(refused.value)) < 500


APPLE, FRIDGE, IN = "(objectType ?o AppleType)", "(receptacleType ?r FridgeType)", "(inReceptacle ?o ?r)"


@pytest.mark.parametrize(
    "goal",
    [
        "(and)",
        f"({APPLE} {FRIDGE})",
        f"(and {APPLE} {IN})",
        f"(and {APPLE} {FRIDGE} {IN} (isOn ?o))",
        f"(and {APPLE} {FRIDGE} {IN} (checked ?r))",
        f"(and {APPLE} {FRIDGE} (not {IN}))",
        f"(or {APPLE} {FRIDGE} {IN})",
        f"(forall (?o - object) (and {APPLE} {FRIDGE} {IN}))",
        f"(and {APPLE} {FRIDGE} {IN} (objectType ?p AppleType) (inReceptacle ?p ?r))",  # might be one apple twice
        f"(and {APPLE} {FRIDGE} {IN} (objectType ?p MugType) (inReceptacle ?p ?r) (not (= ?o ?p)))",
        f"(and {APPLE} {FRIDGE} {IN} (objectType ?p AppleType) (inReceptacle ?p ?r) (not (= ?o ?p)) (isHot ?p))",
        f"(and {APPLE} (objectType ?p BoxType) (inReceptacleObject ?o ?p) {FRIDGE} (inReceptacle ?p ?r))",
        f"(and {APPLE} (isToggled ?o))",
        "(and (objectType ?l DeskLampType) (toggleable ?l) (isToggled ?l) (receptacleAtLocation ?r ?p) "
        "(atLocation ?a ?p) (inReceptacle ?l ?r))",  # holding nothing
    ],
)
def test_a_goal_that_alfworld_does_not_have_is_refused(pddl_fields: dict[str, Any], goal: str) -> None:
    start = pddl_fields["pddl_problem"].partition("(:goal")[0]
    with pytest.raises(GameFormatError, match="its goal is none of ALFWorld's six"):
        parse_game(json.dumps({**pddl_fields, "pddl_problem": f"{start}(:goal {goal}))"}), ID, "here")


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        (f"(and {APPLE} {FRIDGE} {IN})", Goal("place", "AppleType", "FridgeType")),
        (
            f"(and (heatable ?o) {APPLE} {FRIDGE} (isHot ?o) {IN})",
            Goal("place", "AppleType", "FridgeType", "", frozenset({"isHot"}), frozenset({"heatable"})),
        ),
        (
            f"(and {APPLE} {FRIDGE} {IN} (sliceable ?o) (isSliced ?o))",
            Goal("place", "AppleType", "FridgeType", "", frozenset({"isSliced"}), frozenset({"sliceable"})),
        ),
        (
            "(and (objectType ?l DeskLampType) (toggleable ?l) (isToggled ?l) (receptacleAtLocation ?r ?p) "
            f"(atLocation ?a ?p) (inReceptacle ?l ?r) {APPLE} (holds ?a ?o))",
            Goal("light", "AppleType", lamp_type="DeskLampType"),
        ),
    ],
)
def test_goals_are_recognised(pddl_fields: dict[str, Any], goal: str, expected: Goal) -> None:
    start = pddl_fields["pddl_problem"].partition("(:goal")[0]
    problem = f"{start}(:goal (exists (?o - object ?r - receptacle) {goal})) (:metric minimize (total-cost)))"
    assert parse_game(json.dumps({**pddl_fields, "pddl_problem": problem}), ID, "here").goal == expected


def test_code_in_a_grammar_is_text(pddl_fields: dict[str, Any], tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    code = f"__import__('pathlib').Path('{mark}').touch()"
    eval(code)  # what evaluating it would do
    assert mark.exists()
    mark.unlink()
    rules = f'"intro": [ {{"rhs": "{{{code}}} #task#"}} ], "help.feedback": [ {{"rhs": "{{{code}}}"}} ]'
    grammar = pddl_fields["grammar"].replace("put two", f"put {{{code}}} two").replace('{"task"', f'{{{rules}, "task"')
    assert grammar.count(code) == 3
    engine = Engine(parse_game(json.dumps({**pddl_fields, "grammar": grammar}), ID, "here"))
    assert engine.intro().endswith(f'Your task is to: put {{{code}}} two "red" apple in fridge.')
    for command in ("help", "look", *engine.game.walkthrough):
        engine.act(command)
    assert engine.won
    assert not mark.exists()
