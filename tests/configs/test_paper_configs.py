"""The published settings by name, against the numbers of the released launch scripts, and how one changes to another.

Source of the numbers: github.com/ZJU-REAL/SDAR at 8b85c23, the nine launch scripts; arXiv 2605.15155.
"""

from __future__ import annotations

from typing import Any

import pytest

from sdar_gym.configs import ConfigError, builtin_configs, load_config

ENVIRONMENTS = {"alfworld": "sdar/ALFWorld-v0", "webshop": "sdar/WebShop-v0", "searchqa": "sdar/SearchQA-v0"}
MODELS = {
    "qwen2.5-3b": "Qwen/Qwen2.5-3B-Instruct",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
    "qwen3-1.7b": "Qwen/Qwen3-1.7B",
}
# Window, prompt tokens, tasks, turns, penalty, KL, warm-up, most steps an update, temperature of evaluation, interval.
SCRIPTS: dict[str, tuple[Any, ...]] = {
    "alfworld": (2, 2048, 16, 50, 0.1, 0.01, 0, 6400 // 256, 0.4, 5),
    "webshop": (2, 4096, 16, 15, 0.1, 0.01, 0, 1920 // 64, 0.4, 5),
    "searchqa": (4, 4096, 128, 4, 0.01, 0.001, 15, 4096 // 256, 0.0, 0),
}
# Of DistIL: environment, model, the teacher's view, learning rate, updates, longest teacher prompt.
# Source: rishabh-1086.github.io/project-distIL; arXiv 2601.20802 (SDPO) and 2601.18734 (OPSD) for what it does not say.
DISTIL: dict[str, tuple[Any, ...]] = {
    "math-qwen3-4b": ("sdar/Math-v0", "Qwen/Qwen3-4B", "solution", 2e-4, 100, 8192),
    "code-qwen3-8b": ("sdar/Code-v0", "Qwen/Qwen3-8B", "feedback", 1e-6, 80, 10_240),
    "science-qwen3-8b": ("sdar/Science-v0", "Qwen/Qwen3-8B", "sibling", 1e-5, 150, 10_240),
}


def test_there_is_one_for_each_published_environment_and_model() -> None:
    published = {name for name in builtin_configs() if name.startswith("paper/")}
    sdar = {f"paper/{env}-{model}" for env in ENVIRONMENTS for model in MODELS}
    assert published == sdar | {f"paper/distil-{name}" for name in DISTIL}


@pytest.mark.parametrize("env", ENVIRONMENTS)
@pytest.mark.parametrize("model", MODELS)
def test_the_numbers_are_those_of_the_launch_scripts(env: str, model: str) -> None:
    run = load_config(f"paper/{env}-{model}")
    rollout, training, evaluation = run.rollout, run.training, run.evaluation
    assert (run.env, run.policy.model) == (ENVIRONMENTS[env], MODELS[model])
    assert SCRIPTS[env] == (
        rollout.window,
        rollout.max_prompt_tokens,
        training.tasks_per_iteration,
        run.env_config["max_steps"],
        training.invalid_action_penalty,
        run.objective.kl_coeff,
        training.lr_warmup_updates,
        training.num_minibatches,
        evaluation.temperature,
        evaluation.interval,
    )
    assert (training.group_size, training.iterations, training.lr, training.num_epochs) == (8, 150, 1e-6, 1)
    assert (rollout.context, rollout.think, rollout.max_response_tokens, rollout.temperature) == (
        "window",
        True,
        512,
        1,
    )
    assert (training.old_logp, training.importance_correction) == ("learner", "off")
    assert run.env_config["success_reward"] == (1 if env == "searchqa" else 10)
    assert rollout.chat_template_kwargs == ({"enable_thinking": False} if model.startswith("qwen3") else {})
    distill = run.objective.distill
    assert distill is not None and distill.gate is not None
    assert (distill.coeff.at(0), distill.gate.beta) == (0.01, 5.0)  # pyright: ignore[reportAttributeAccessIssue]
    assert (run.objective.entropy_coeff, run.objective.clip_low, run.objective.dual_clip) == (0.001, 0.2, 3.0)


@pytest.mark.parametrize("name", DISTIL)
def test_distil_has_the_protocol_of_its_domain(name: str) -> None:
    run = load_config(f"paper/distil-{name}")
    objective, training = run.objective, run.training
    assert objective.teacher is not None and objective.distill is not None
    assert DISTIL[name] == (
        run.env,
        run.policy.model,
        objective.teacher.view,
        training.lr,
        training.iterations,
        run.rollout.max_teacher_prompt_tokens,
    )
    assert (training.tasks_per_iteration, training.group_size) == (32, 8)
    assert (objective.distill.divergence, objective.distill.support, objective.distill.k) == ("forward_ce", "topk", 100)
    assert objective.shaping is not None and objective.shaping.NAME == "future_credit"
    assert not objective.policy_coeff.at(0) and objective.kl_coeff == objective.entropy_coeff == 0
    assert run.evaluation.repeats == 16 and run.skills.strategy == "none"
    # The baselines are the same run with another method.
    assert load_config(f"paper/distil-{name}", ["method=grpo"]).objective.distill is None
    assert load_config(f"paper/distil-{name}", ["method=sdpo"]).objective.distill is not None


def test_the_baseline_is_the_same_run_without_distillation() -> None:
    objective = load_config("paper/searchqa-qwen2.5-3b", ["method=grpo"]).objective
    assert objective.distill is None and objective.kl_coeff == 0.001


@pytest.mark.parametrize(
    ("name", "env", "home"),
    [
        ("paper/alfworld-qwen2.5-7b", "searchqa", "paper/searchqa-qwen2.5-7b"),
        ("alfworld", "webshop", "webshop"),
        ("webshop", "alfworld", "alfworld"),
    ],
)
def test_another_environment_selects_the_configuration_of_the_same_kind(name: str, env: str, home: str) -> None:
    assert load_config(name, [f"env={ENVIRONMENTS[env]}"]) == load_config(home)


def test_the_tiny_policy_keeps_its_own_configurations() -> None:
    run = load_config("quickstart", ["env=sdar/WebShop-v0"])
    assert (run.policy.model, run.rollout) == ("builtin:tiny", load_config("quickstart-webshop").rollout)


def test_a_wrong_name_lists_the_papers_only_where_one_was_meant() -> None:
    with pytest.raises(ConfigError) as refused:
        load_config("alfwrold")
    assert "paper/<environment>-<model>" in str(refused.value) and "qwen" not in str(refused.value)
    with pytest.raises(ConfigError, match=r"\(paper/alfworld-qwen2\.5-3b, .*webshop-qwen3-1\.7b\)"):
        load_config("paper/alfworld-qwen2.5-14b")
