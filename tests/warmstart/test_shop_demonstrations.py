"""Demonstrations for WebShop's tiny policy, its skills, and the shipped policy."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from itertools import islice

import gymnasium
import pytest

from sdar_gym.configs import load_config
from sdar_gym.envs.prompting import EpisodeView, prompt_template, skill_context
from sdar_gym.envs.webshop.demonstrator import OPTION_NAMES, skill_text
from sdar_gym.envs.webshop.env import WebShopEnv, options_type
from sdar_gym.envs.webshop.notes import notes_of
from sdar_gym.envs.webshop.prompt import render_notes
from sdar_gym.rollout.build import build_retriever
from sdar_gym.skills import SkillQuery, load_library
from sdar_gym.warmstart.shop_demonstrations import ShopMix
from sdar_gym.warmstart.tiny_acceptance import ALONE, MISLED, READ
from sdar_gym.warmstart.tiny_demonstrations import Demonstration
from sdar_gym.warmstart.tiny_policies import tiny_policy_of

PLAIN = ShopMix(slip=0.0, keep=1.0)
RUN = load_config("quickstart-webshop")
WANTED = re.compile(r"(capacity|color|flavor name|scent|size|style): ([^,]+(?:\([^)]*\))?)(?:, and |$)")


def rows_of(mix: ShopMix, count: int, seed: int = 0) -> list[Demonstration]:
    return list(islice(mix.stream(seed), count))


def wanted(row: Demonstration) -> dict[str, str]:
    """Option values of the task by name."""
    return dict(WANTED.findall(row.prompt.split("\n", 1)[0]))


def said(row: Demonstration) -> list[str]:
    """Options that the skill text tells to click."""
    line = row.prompt.split("\n")[1]
    return re.findall(r"click the ([a-z ]+?)(?:,|$)", line)


def test_the_same_seed_writes_the_same_demonstrations() -> None:
    assert rows_of(ShopMix(), 60) == rows_of(ShopMix(), 60)
    assert rows_of(ShopMix(), 60) != rows_of(ShopMix(), 60, seed=1)


def test_product_ids_are_copied_and_never_those_of_the_shop() -> None:
    env = gymnasium.make(RUN.env, disable_env_checker=True, **RUN.env_config).unwrapped
    assert isinstance(env, WebShopEnv)
    known = {task_id.partition("/")[0].lower() for split in env.splits for task_id in env.task_ids(split)}
    opened = 0
    for row in rows_of(PLAIN, 400):
        code = re.search(r"click\[(b0[0-9a-z]{8})\]", row.response)
        if code is not None:
            assert code[1] in row.prompt and code[1] not in known
            opened += 1
    assert opened > 50


def test_a_made_up_skill_decides_what_is_searched_and_bought() -> None:
    rows = rows_of(replace(PLAIN, skill=1.0, made_up=1.0), 1200)
    searches = [row for row in rows if row.response.startswith("<action>search[")]
    assert len(searches) > 100
    for row in searches:
        for name, value in wanted(row).items():
            assert (f" {value}" in row.response) == (name in said(row))
    bought = [row for row in rows if row.response == "<action>click[buy now]</action>"]
    assert bought
    # What the task does not name can never be chosen, so that such a text never ends in a purchase.
    assert all(set(said(row)) <= set(wanted(row)) for row in bought)


def test_without_a_text_the_procedure_is_known_as_often_as_the_prior_says() -> None:
    prior = {"color_size": 0.8, "color_style": 0.1}
    rows = rows_of(replace(PLAIN, skill=0.0, prior=prior), 4000)
    assert not any("skill:" in row.prompt for row in rows)
    right: Counter[str] = Counter()
    all_: Counter[str] = Counter()
    for row in rows:
        values = wanted(row)
        kind = "_".join(sorted(values))
        if row.response.startswith("<action>search[") and kind in prior:
            all_[kind] += 1
            right[kind] += all(f" {value}" in row.response for value in values.values())
    for kind, rate in prior.items():
        spread = 4 * (0.25 / all_[kind]) ** 0.5
        assert all_[kind] > 30
        assert rate - spread < right[kind] / all_[kind] < rate + spread


def test_the_library_and_the_prompt_are_what_the_policy_was_taught_to_read() -> None:
    env = gymnasium.make(RUN.env, disable_env_checker=True, **RUN.env_config).unwrapped
    assert isinstance(env, WebShopEnv)
    one_of_each = {env.task_type(task_id): task_id for task_id in env.task_ids("train")}
    assert set(one_of_each) == set(load_library("webshop-options").task_types)
    retriever = build_retriever(RUN.env, RUN.skills)
    for task_type, task_id in one_of_each.items():
        observation, info = env.reset(options={"task_id": task_id})
        found = retriever.retrieve(SkillQuery("webshop", task_type, info["goal"], observation))
        procedure = tuple(sorted(name for name, _ in env.goal.options))
        assert set(procedure) <= set(OPTION_NAMES)
        assert found.text == skill_text(procedure)
        assert options_type(env.product) == task_type
        view = EpisodeView(info["goal"], (), observation, ())
        (message,) = prompt_template(RUN.env, "compact").messages(
            view, window=2, privileged=skill_context(found.text), think=False
        )
        assert message["content"] == render_notes(notes_of(view), 1, skill_context(found.text))


def test_the_shipped_policy_was_made_by_this_recipe_and_accepted_by_measure() -> None:
    shipped = json.loads(files("sdar_gym.policy").joinpath("checkpoints/tiny-webshop/recipe.json").read_text())
    # Whoever changes the recipe trains the shipped policy anew: `sdar-gym warmstart --env sdar/WebShop-v0`.
    assert shipped["recipe"] == json.loads(json.dumps(tiny_policy_of("sdar/WebShop-v0").recipe.to_json()))
    measured = shipped["measured"]
    assert ALONE[0] <= measured["without_skills"]["success"] <= ALONE[1]
    assert measured["with_skills"]["success"] > READ
    assert measured["wrong_skills"]["success"] < MISLED
    assert measured["accepted"]


@pytest.mark.slow
def test_the_shipped_policy_is_accepted_again() -> None:
    tiny = tiny_policy_of("sdar/WebShop-v0")
    assert tiny.measure(RUN, f"builtin:{tiny.name}", lambda done, total: None)["accepted"]
