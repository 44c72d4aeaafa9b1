"""Demonstrations of Search-QA for its tiny policy, and the shipped policy that was made with them."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from itertools import islice

import pytest

from sdar_gym.configs import load_config
from sdar_gym.envs.searchqa.expert import asked_by
from sdar_gym.envs.searchqa.text import read_call
from sdar_gym.envs.searchqa.wordings import Compare
from sdar_gym.envs.searchqa.world import embedded_world
from sdar_gym.evaluation.panels import panel_of
from sdar_gym.evaluation.summary import success_by_type
from sdar_gym.warmstart.search_demonstrations import SearchMix
from sdar_gym.warmstart.tiny_acceptance import ALONE, MISLED, READ, acceptance_panel, measure_control
from sdar_gym.warmstart.tiny_demonstrations import Demonstration
from sdar_gym.warmstart.tiny_policies import tiny_policy_of

ENV_ID = "sdar/SearchQA-v0"
PLAIN = SearchMix(slip=0.0, keep_first=1.0)
TINY = tiny_policy_of(ENV_ID)


def rows_of(mix: SearchMix, count: int, seed: int = 0) -> list[Demonstration]:
    return list(islice(mix.stream(seed), count))


def test_the_same_seed_writes_the_same_demonstrations() -> None:
    assert rows_of(SearchMix(), 60) == rows_of(SearchMix(), 60)
    assert rows_of(SearchMix(), 60) != rows_of(SearchMix(), 60, seed=1)


def test_every_response_is_a_text_of_its_prompt_so_nothing_hidden_is_taught() -> None:
    for row in rows_of(SearchMix(), 600):
        call = read_call(row.response)
        assert call.valid
        assert re.search(rf"\b{re.escape(call.text)}\b", row.prompt), (row.prompt, row.response)


def test_names_are_others_than_in_the_training_world_so_that_pairs_of_words_cannot_be_memorized() -> None:
    known = embedded_world("plain").things
    names = [
        name
        for row in rows_of(SearchMix(), 300)
        for asked in [asked_by(row.prompt.split("\n")[0].removeprefix("question: "))]
        if asked is not None
        for name in asked.names
    ]
    # Most pairs of words are names in some split already.
    assert 0.1 < sum(name not in known for name in names) / len(names) < 0.8


def test_a_skill_text_of_another_kind_of_question_is_followed() -> None:
    followed = 0
    for row in rows_of(replace(PLAIN, skill=1.0, made_up=1.0), 1500):
        asked, call = asked_by(row.prompt.split("\n")[0].removeprefix("question: ")), read_call(row.response)
        assert asked is not None
        if (
            "Search for the second name" in row.prompt
            and isinstance(asked.ask, Compare)
            and "found: " not in row.prompt
        ):
            assert call.text == asked.names[1]
            followed += 1
        if "the year that" in row.prompt and call.kind == "answer":
            assert call.text.isdecimal()
            followed += 1
        if "Search for the name in the question, read" in row.prompt:
            assert call.kind == ("answer" if "found: " in row.prompt else "search")
            followed += not isinstance(asked.ask, Compare) and len(asked.ask.path) > 1
    assert followed > 150


def test_without_a_text_the_procedure_is_guessed_right_as_often_as_the_prior_says() -> None:
    prior = {"one_hop": 0.9, "two_hop": 0.1, "comparison": 0.5}
    second: Counter[tuple[str, bool]] = Counter()
    for row in rows_of(replace(PLAIN, skill=0.0, keep_first=0.0, prior=prior), 2500):
        assert "skill:" not in row.prompt
        asked = asked_by(row.prompt.split("\n")[0].removeprefix("question: "))
        if asked is None or row.prompt.count("found: ") != 1:
            continue
        compares = isinstance(asked.ask, Compare)
        kind = "comparison" if compares else "two_hop" if len(asked.ask.path) > 1 else "one_hop"
        right = {
            "one_hop": read_call(row.response).kind == "answer",
            "two_hop": read_call(row.response).kind == "search",
            "comparison": read_call(row.response).text in asked.names[1:],
        }[kind]
        second[kind, right] += 1
    # A procedure of another kind begins rightly now and then, which comes on top.
    for kind, rate in prior.items():
        share = second[kind, True] / (second[kind, True] + second[kind, False])
        assert rate - 0.08 < share < rate + (1 - rate) * 0.7 + 0.08, kind


def test_slips_are_carried_out_but_never_taught() -> None:
    rows = rows_of(replace(PLAIN, skill=1.0, made_up=0.0, slip=0.5), 400)
    assert any("failed: no search" in row.prompt for row in rows)
    assert any(re.search(r"^searched: (Which|Who|In|On|Where|When|What) ", row.prompt, re.MULTILINE) for row in rows)
    assert not any("?" in row.response or "> <" in row.response for row in rows)


def test_the_panel_of_the_acceptance_is_in_no_panel_of_a_run() -> None:
    run = load_config(TINY.config)
    panel = acceptance_panel(run)
    of_runs = panel_of(replace(run, evaluation=replace(run.evaluation, tasks=400)))
    assert len(panel.task_ids) == 192
    assert not set(panel.task_ids) & set(of_runs.task_ids)


def test_the_shipped_policy_was_made_by_its_recipe_and_accepted_by_measure() -> None:
    folder = files("sdar_gym.policy").joinpath("checkpoints", TINY.name)
    shipped = json.loads(folder.joinpath("recipe.json").read_text(encoding="utf-8"))
    # Whoever changes the recipe trains the shipped policy anew: `sdar-gym warmstart`.
    assert shipped["recipe"] == json.loads(json.dumps(TINY.recipe.to_json()))
    measured = shipped["measured"]
    assert measured["accepted"]
    assert ALONE[0] <= measured["without_skills"]["success"] <= ALONE[1]
    assert measured["with_skills"]["success"] > READ
    assert measured["wrong_skills"]["success"] < MISLED
    by_type = success_by_type(measured["without_skills"])
    assert by_type["two_hop"] < 0.15 < 0.3 < by_type["one_hop"]


def test_the_shipped_policy_reads_right_and_wrong_skills() -> None:
    run = load_config(TINY.config)
    panel = acceptance_panel(run)
    some = replace(panel, task_ids=panel.task_ids[::8])
    measured = measure_control(run, f"builtin:{TINY.name}", panel=some)
    assert measured["wrong_skills"]["success"] < measured["without_skills"]["success"]
    assert measured["with_skills"]["success"] > measured["without_skills"]["success"] + 0.25


@pytest.mark.slow
def test_the_shipped_policy_is_accepted_again() -> None:
    measured = measure_control(load_config(TINY.config), f"builtin:{TINY.name}")
    assert measured["accepted"], {name: each["success"] for name, each in measured.items() if name != "accepted"}
