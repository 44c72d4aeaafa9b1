"""Configurations that are refused before Ray starts: each message names the setting and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import small_config  # pyright: ignore[reportMissingImports]
from transformers import AutoModelForCausalLM

from sdar_gym.algorithms.sdar import SDARConfig
from sdar_gym.envs.registry import entry_of, register
from sdar_gym.policy.load import load_tokenizer, policy_path

SCHEDULED = [[0, -1.0], [3, 0.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.environment(env="sdar/AlfWorld-v0"), "Did you mean 'sdar/ALFWorld-v0'"),
        (lambda c: c.training(group_size=1), r"training\.group_size must be at least 2, got 1"),
        (lambda c: c.training(tasks_per_iteration=0), r"training\.tasks_per_iteration must be a whole number from 1"),
        (lambda c: c.training(num_minibatches=0), r"training\.num_minibatches must be a whole number from 1"),
        (lambda c: c.training(num_epochs=0), r"training\.num_epochs must be a whole number from 1"),
        (lambda c: c.training(micro_batch_tokens=0), r"training\.micro_batch_tokens must be a whole number from 1"),
        (
            lambda c: c.training(invalid_action_penalty=-1.0),
            r"training\.invalid_action_penalty must be a finite number from 0 .* got -1\.0",
        ),
        (
            lambda c: c.training(weight_decay=-1.0),
            r"training\.weight_decay must be a finite number from 0 .* got -1\.0",
        ),
        (lambda c: c.training(adam_betas=(0.9, 1.0)), r"training\.adam_betas\.1 must be .* below 1, got 1\.0"),
        (lambda c: c.training(method="sdra"), "Unknown method 'sdra'.*sdar"),
        (lambda c: c.training(objective={"distil": {}}), r"'sdar': The objective has no setting 'distil'.*distill"),
        (lambda c: c.training(objective={"distill_coeff": 1.0}), "has no setting 'distill_coeff'"),
        (lambda c: c.training(objective={"distill": {"coef": 1.0}}), r"distill.*'coef'.*coeff"),
        (lambda c: c.training(objective={"distill": {"coeff": -1.0}}), r"distill\.coeff must never be negative"),
        (lambda c: c.training(objective={"distill": {"coeff": SCHEDULED}}), r"distill\.coeff must never be negative"),
        (lambda c: c.training(objective={"teacher": {"weights": "ema"}}), r"needs teacher\.rate"),
        (lambda c: c.training(objective={"teacher": {"view": "none"}}), "makes the teacher the student"),
        (lambda c: c.skills(strategy="none"), "method=sdar distills.*the teacher would be the student.*oracle_type"),
        (lambda c: c.training(method="skill_grpo").skills(strategy="none"), "method=skill_grpo trains a policy"),
        (lambda c: c.skills(strategy="bm52"), "bm52"),
        (lambda c: c.skills(library="no/such/library"), "no/such/library"),
        (lambda c: c.rollout(prompt="long"), "no prompt template 'long'"),
        (
            lambda c: c.rollout(engine="transformer"),
            r"rollout\.engine: unknown engine 'transformer'\. Did you mean 'tran",
        ),
        (
            lambda c: c.rollout(engine="no_module:engine"),
            "The engine 'no_module:engine': there is no module 'no_module'",
        ),
        (lambda c: c.rollout(engine="math:pi"), r"rollout\.engine=math:pi is no function that builds an engine"),
    ],
)
def test_senseless_configurations_are_refused(change: Callable[[SDARConfig], Any], message: str) -> None:
    config = small_config()
    config.validate()
    with pytest.raises(ValueError, match=message):
        change(config).validate()


def test_no_environment_and_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"No environment: call \.environment"):
        SDARConfig().validate()
    for section, name, meant in (
        ("policy", "modle", "policy.model"),
        ("skills", "stratgy", "skills.strategy"),
        ("rollout", "promt", "rollout.prompt"),
        ("training", "group_sise", "training.group_size"),
        ("evaluation", "tsks", "evaluation.tasks"),
    ):
        with pytest.raises(ValueError, match=rf"Unknown setting .*{name}.*Did you mean {meant}\?"):
            getattr(SDARConfig(), section)(**{name: 1})


@pytest.mark.parametrize("method", ["sdpo", "grpo", "opsd"])
def test_methods_that_read_no_skills_need_none(method: str) -> None:
    small_config(method).skills(strategy="none").check()


@pytest.mark.usefixtures("clean_registry")
def test_a_solution_is_refused_where_no_expert_could_give_one() -> None:
    known = entry_of("sdar/ALFWorld-v0")
    register("test/NoExpert-v0", known.entry_point, prompt=known.prompt, skills=known.skills)
    config = small_config("opsd")
    config.check()
    config = config.copy(copy_frozen=False).environment("test/NoExpert-v0")
    config.env_entry = None
    with pytest.raises(ValueError, match=r"method=opsd .*test/NoExpert-v0 registers no expert.*teacher\.view"):
        config.check()
    config.training(objective={"teacher": {"view": "sibling"}}).check()


def external(model: str | Path, method: str = "sdar") -> SDARConfig:
    teacher = {"weights": "external", "model": str(model), "rate": None}
    return small_config(method, objective={"teacher": teacher})


@pytest.fixture
def resized(tmp_path: Path) -> Path:
    """The tiny policy with 64 more rows in its head than its tokenizer has tokens."""
    load_tokenizer("builtin:tiny").save_pretrained(tmp_path / "resized")
    model = AutoModelForCausalLM.from_pretrained(policy_path("builtin:tiny"))
    model.resize_token_embeddings(model.config.vocab_size + 64, mean_resizing=False)
    model.save_pretrained(tmp_path / "resized")
    return tmp_path / "resized"


def test_another_model_may_teach_if_it_speaks_the_same_tokens(resized: Path) -> None:
    external("builtin:tiny").check()
    external("builtin:tiny", "sdpo").check()
    # Sampled tokens are all that is compared.
    external(resized).check()
    with pytest.raises(ValueError, match=r"teacher\.model=.* head of \d+ tokens.*'jsd' compares whole distributions"):
        external(resized, "sdpo").check()


def test_another_model_that_cannot_teach_is_refused_by_its_setting(policy_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"teacher\.model=.*cannot be used as the teacher\. No such folder"):
        external(tmp_path / "no" / "such").check()
    with pytest.raises(ValueError, match=r"teacher\.model=.* another tokenizer than policy\.model='builtin:tiny'"):
        external(policy_folder).check()
