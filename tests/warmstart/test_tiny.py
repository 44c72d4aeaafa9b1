"""Warm start of the tiny policy: demonstrations, and a very short training run."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sdar_gym.configs.sections import SkillSettings
from sdar_gym.envs.alfworld.demonstrator import skill_text, true_procedure
from sdar_gym.envs.alfworld.engine import Engine
from sdar_gym.envs.alfworld.generator import generate_game
from sdar_gym.envs.alfworld.notes import start_notes
from sdar_gym.envs.alfworld.prompt import render_notes
from sdar_gym.envs.alfworld.world import TASK_TYPES
from sdar_gym.envs.prompting import EpisodeView, prompt_template, skill_context
from sdar_gym.policy.logprobs import score_responses
from sdar_gym.policy.tiny_model import TinyShape, build_tiny
from sdar_gym.rollout.build import build_retriever
from sdar_gym.skills import SkillQuery
from sdar_gym.warmstart import tiny
from sdar_gym.warmstart.tiny import Recipe, save_policy, warm_start
from sdar_gym.warmstart.tiny_acceptance import WITH_SKILLS, WITHOUT_SKILLS
from sdar_gym.warmstart.tiny_demonstrations import Demonstration, DemonstrationMix, demonstrations

PLAIN = DemonstrationMix(small_rooms=1.0, slip=0.0, keep=(1.0, 1.0))
SAID = re.compile(r"^skill: .*, (heat|cool|clean) it with the (\w+),", re.MULTILINE)
DONE = re.compile(r"<action>(heat|cool|clean) \w+ \d+ with (\w+) \d+</action>")
WORDS = {"heat": ("hot", "heat"), "cool": ("cool",), "clean": ("clean",)}
DEVICE = {"heat": "microwave", "cool": "fridge", "clean": "sinkbasin"}


def rows_of(mix: DemonstrationMix, count: int, seed: int = 0) -> list[Demonstration]:
    return list(islice(demonstrations(mix, seed), count))


def wanted_change(row: Demonstration) -> str | None:
    """What the task really needs: heat, cool or clean; None for other tasks."""
    goal = row.prompt.split("\n", 1)[0]
    return next((verb for verb, words in WORDS.items() if any(f" {word} " in goal for word in words)), None)


def test_the_same_seed_writes_the_same_demonstrations() -> None:
    mix = DemonstrationMix()
    assert rows_of(mix, 60) == rows_of(mix, 60)
    assert rows_of(mix, 60) != rows_of(mix, 60, seed=1)


def test_a_made_up_skill_is_followed_to_the_letter_though_nothing_happens() -> None:
    rows = rows_of(replace(PLAIN, skill=1.0, made_up=1.0, other_type=0.0), 1500)
    followed, useless = 0, 0
    for row in rows:
        said, done = SAID.search(row.prompt), DONE.fullmatch(row.response)
        if done is not None:
            assert said is not None
            assert done.groups() == said.groups()
            followed += 1
            useless += said.groups() != (wanted_change(row), DEVICE[wanted_change(row) or "heat"])
            # The text asks for it once: what failed is not tried again.
            assert f"failed: {row.response.removeprefix('<action>').removesuffix('</action>')}" not in row.prompt
    assert followed > 50
    assert useless > followed * 0.6
    assert any(re.search(r"^failed: (heat|cool|clean)", row.prompt, re.MULTILINE) for row in rows)


def test_a_made_up_place_is_followed_against_the_task_and_then_there_is_no_more_to_do() -> None:
    rows = rows_of(replace(PLAIN, skill=1.0, made_up=1.0, other_type=0.0), 2500)
    moved = 0
    for before, row in pairwise(rows):
        said = re.search(r"^skill: .*, go to the (\w+) and move it there", before.prompt, re.MULTILINE)
        done = re.fullmatch(r"<action>move \w+ \d+ to (\w+) \d+</action>", before.response)
        if done is None or said is None or said.group(1) == "target" or wanted_change(before) is not None:
            continue
        assert done.group(1) == said.group(1)
        assert said.group(1) not in before.prompt.split("\n", 1)[0]
        moved += 1
        if " two " not in before.prompt.split("\n", 1)[0]:
            assert row.response == "<action>look</action>"
    assert moved > 30


def test_without_a_text_the_procedure_is_guessed_right_as_often_as_the_prior_says() -> None:
    prior = {f"pick_{verb}_then_place_in_recep": rate for verb, rate in (("heat", 0.9), ("cool", 0.1), ("clean", 0.5))}
    # Only the rows in which a guess shows.
    rows = rows_of(replace(PLAIN, skill=0.0, keep=(0.0, 0.0), prior=prior), 3200)
    assert not any("skill:" in row.prompt for row in rows)
    right: Counter[str] = Counter()
    all_: Counter[str] = Counter()
    for row in rows:
        done, wanted = DONE.fullmatch(row.response), wanted_change(row)
        if done is not None and wanted is not None:
            all_[wanted] += 1
            right[wanted] += done.groups() == (wanted, DEVICE[wanted])
    for verb, rate in (("heat", 0.9), ("cool", 0.1), ("clean", 0.5)):
        assert all_[verb] > 60
        # A wild guess is right once in twenty times or so, which comes on top.
        spread = 4 * (0.25 / all_[verb]) ** 0.5
        assert rate - spread < right[verb] / all_[verb] < rate + (1 - rate) * 0.1 + spread


def test_the_skill_of_another_type_is_shown_and_ignored() -> None:
    certain = dict.fromkeys(TASK_TYPES, 1.0)
    rows = rows_of(replace(PLAIN, skill=1.0, other_type=1.0, prior=certain), 600)
    shown = 0
    for row in rows:
        done, wanted = DONE.fullmatch(row.response), wanted_change(row)
        if done is not None and wanted is not None:
            assert done.groups() == (wanted, DEVICE[wanted])
            said = SAID.search(row.prompt)
            assert said is None or said.group(1) != wanted
            shown += 1
    assert shown > 20


def test_with_true_skills_and_no_slips_every_demonstration_makes_sense() -> None:
    rows = rows_of(replace(PLAIN, skill=1.0, made_up=0.0, other_type=0.0), 400)
    assert not any("failed: heat" in row.prompt or "failed: c" in row.prompt for row in rows)
    assert all(re.fullmatch(r"<action>[a-z0-9 ]+</action>", row.response) for row in rows)


def test_slips_are_carried_out_but_never_taught() -> None:
    def holding_something_else(slip: float) -> int:
        rows = rows_of(replace(PLAIN, skill=1.0, made_up=0.0, other_type=0.0, slip=slip), 600)
        assert not any(re.search("<action>(help|look|inventory|close)", row.response) for row in rows)
        held = [(row, re.search(r"holding: (\w+) \d+", row.prompt)) for row in rows]
        return sum(found is not None and found.group(1) not in row.prompt.split("\n", 1)[0] for row, found in held)

    assert holding_something_else(0.0) == 0
    assert holding_something_else(0.5) > 0


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_the_library_and_the_prompt_are_what_the_policy_was_taught_to_read(task_type: str) -> None:
    game = generate_game(f"small/train/{TASK_TYPES.index(task_type):06d}")
    assert game.task_type == task_type
    observation = Engine(game).intro()
    retriever = build_retriever("sdar/ALFWorld-v0", SkillSettings(k=1, include_general=False))
    found = retriever.retrieve(SkillQuery("alfworld", task_type, game.task, observation))
    assert found.text == skill_text(task_type, true_procedure(task_type))
    view = EpisodeView(game.task, (), observation, ())
    (message,) = prompt_template("sdar/ALFWorld-v0", "compact").messages(
        view, window=2, privileged=skill_context(found.text), think=False
    )
    assert message["content"] == render_notes(game.task, start_notes(observation), skill_context(found.text))


RECIPE = Recipe(
    steps=30,
    tokens_per_step=1200,
    learning_rate=1e-2,
    vocab_size=400,
    tokenizer_rows=150,
    shape=TinyShape(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=64,
    ),
    mix=DemonstrationMix(small_rooms=1.0),
)


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sort among 128 rows rather than 2048, which take a second to write."""
    monkeypatch.setattr(tiny, "_BUCKET", 1)


def test_a_short_training_lowers_the_loss_and_is_the_same_every_time() -> None:
    losses: list[float] = []
    model, tokenizer = warm_start(RECIPE, lambda step, loss: losses.append(loss))
    assert len(losses) == 30
    assert sum(losses[-3:]) < 0.65 * sum(losses[:3])
    assert not model.training
    again, same_tokenizer = warm_start(RECIPE)
    assert same_tokenizer.get_vocab() == tokenizer.get_vocab()
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())


def test_the_rows_of_a_batch_end_with_the_answer_that_is_to_be_learned(tokenizer: Any) -> None:
    rows = next(tiny._batches(tokenizer, RECIPE))
    assert len(rows) * max(len(row.ids) for row in rows) <= RECIPE.tokens_per_step
    for row in rows:
        (span,) = row.spans
        assert tokenizer.decode(row.prompt_ids).endswith("<|im_start|>assistant\n")
        assert span.stop == len(row.ids)
        assert re.fullmatch(r"<action>[^<]+</action><\|im_end\|>", tokenizer.decode(row.ids[span.start :]))


def test_a_saved_policy_is_loaded_by_transformers_with_the_same_scores(tokenizer: Any, tmp_path: Path) -> None:
    model = build_tiny(tokenizer, RECIPE.shape, seed=3).eval()
    save_policy(model, tokenizer, tmp_path / "new" / "folder")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "new" / "folder")
    reader = AutoTokenizer.from_pretrained(tmp_path / "new" / "folder")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "at: fridge 1"}], tokenize=False)
    ids = torch.tensor([reader.encode(text, add_special_tokens=False)])
    position = torch.arange(1, ids.shape[1])[None]
    mask = torch.ones_like(position, dtype=torch.bool)
    with torch.no_grad():
        scores = [score_responses(m, ids, position, mask).logp_BT for m in (model, loaded)]
    assert torch.equal(*scores)
    assert loaded.config.model_type == "qwen3"
    assert loaded.config.tie_word_embeddings


def test_building_a_policy_leaves_the_random_numbers_of_others_alone(tokenizer: Any) -> None:
    before = torch.get_rng_state()
    first, second = (build_tiny(tokenizer, RECIPE.shape, seed=5).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = build_tiny(tokenizer, RECIPE.shape, seed=6).state_dict()
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_the_shipped_policy_was_made_by_this_recipe_and_accepted_by_measure() -> None:
    shipped = json.loads(files("sdar_gym.policy").joinpath("checkpoints/tiny/recipe.json").read_text())
    # Whoever changes the recipe trains the shipped policy anew: `sdar-gym warmstart`.
    assert shipped["recipe"] == json.loads(json.dumps(Recipe().to_json()))
    assert WITHOUT_SKILLS[0] <= shipped["measured"]["without_skills"]["success"] <= WITHOUT_SKILLS[1]
    assert shipped["measured"]["with_skills"]["success"] > WITH_SKILLS
    assert shipped["measured"]["accepted"]


def test_the_recipe_is_saved_as_json() -> None:
    content = json.loads(json.dumps(Recipe().to_json()))
    assert content["steps"] == Recipe().steps
    assert content["mix"]["prior"] == dict(DemonstrationMix().prior)
    assert content["shape"]["head_dim"] == TinyShape().head_dim
