"""Settings that no run can mean are refused at once, from YAML as from Python, and paths are settled where they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdar_gym.configs import ConfigError, load_config
from sdar_gym.configs.sections import (
    EvaluationSettings,
    LoraSettings,
    PolicySettings,
    ResourceSettings,
    RolloutSettings,
    SkillSettings,
    TrainingSettings,
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "training.iterations=1000000000",
            r"training\.iterations must be a whole number from 1 to 1,000,000, got 1000000000",
        ),
        (
            "training.iterations=1" + "0" * 30,
            r"training\.iterations must be a whole number from 1 to 1,000,000, got 1000",
        ),
        (
            "training.iterations=1" + "0" * 6000,
            r"training\.iterations must be a whole number from 1 to 1,000,000, got '1000",
        ),
        (
            "training.tasks_per_iteration=100000000",
            r"training\.tasks_per_iteration must be a whole number from 1 to 1,000,000",
        ),
        ("training.tasks_per_iteration=1000000", r"group_size x training\.tasks_per_iteration = 8,000,000 episodes"),
        ("training.iterations=900000", r"iterations x training\.tasks_per_iteration = 14,400,000 groups"),
        ("training.group_size=1000001", r"training\.group_size must be a whole number of at most 1,000,000"),
        ("training.num_minibatches=129", r"num_minibatches must be at most the 128 episodes of an update"),
        ("training.num_epochs=1000000", r"training\.num_epochs must be a whole number from 1 to 1,000,"),
        ("training.lr=1e300", r"training\.lr must be a finite number above 0 and at most 1, got 1e\+300"),
        ("training.lr=1e30", r"training\.lr must be a finite number above 0 and at most 1"),
        ("training.iterations=true", r"training\.iterations must be a whole number from 1 to 1,000,000, got 'true'"),
        ("training.iterations=2.0", r"training\.iterations must be a whole number from 1 to 1,000,000, got 2\.0"),
        ("training.iterations=.nan", r"training\.iterations must be a whole number from 1 to 1,000,000, got nan"),
        ("training.weight_decay=1e300", r"training\.weight_decay must be a finite number from 0 to 1,000,"),
        (
            "training.invalid_action_penalty=1e30",
            r"training\.invalid_action_penalty must be a finite number from 0 to 1,000,000,",
        ),
        ("seed=4294967296", r"seed must be a whole number from 0 to 4,294,967,295, got 4294967296"),
        ("evaluation.seed=4294967296", r"evaluation\.seed must be a whole number from 0 to 4,294,967,295"),
        ("policy.lora.seed=4294967296", r"policy\.lora\.seed must be a whole number from 0 to 4,294,967,295"),
        ("policy.lora.r=1000000000", r"policy\.lora\.r must be a whole number from 1 to 65,536"),
        ("policy.torch_threads=1000000000000", r"policy\.torch_threads must be a whole number from 1 to 1,024"),
        (
            "rollout.max_response_tokens=100000000000",
            r"rollout\.max_response_tokens must be a whole number from 1 to 1,000,000",
        ),
        (
            "rollout.max_prompt_tokens=100000000000",
            r"rollout\.max_prompt_tokens must be a whole number from 1 to 1,000,000",
        ),
        ("rollout.temperature=1e-320", r"rollout\.temperature must be from 0\.01 to 100, got 1e-320"),
        ("rollout.temperature=1e30", r"rollout\.temperature must be from 0\.01 to 100"),
        ("evaluation.temperature=1e-300", r"evaluation\.temperature must be from 0\.01 to 100"),
        ("evaluation.tasks=100000000000000000000", r"evaluation\.tasks must be a whole number from 1 to 1,000,000"),
        (
            "evaluation.teacher_tasks=100000000000000000000",
            r"evaluation\.teacher_tasks must be a whole number from 0 to 1,000,000",
        ),
        ("checkpoint_interval=1" + "0" * 30, r"checkpoint_interval must be a whole number from 1 to 1,000,000,000"),
        ("resources.num_env_runners=1000000", r"resources\.num_env_runners must be a whole number from 0 to 100,000"),
        (
            "resources.num_gpus_per_learner=.inf",
            r"resources\.num_gpus_per_learner must be a finite number from 0 to 1,000, got inf",
        ),
        ("skills.backend=nope", r"skills\.backend must be one of auto, bm25s, lucene, got 'nope'"),
        ("skills.field_weights.title=-1", r"skills\.field_weights\.title must be a finite number of at least 0"),
        ("skills.k=1" + "0" * 30, r"skills\.k must be a whole number from 1 to 1,000,000,000"),
        ("rollout.chat_template_kwargs={tokenize: false}", r"chat_template_kwargs cannot set tokenize"),
        ("rollout.chat_template_kwargs={messages: 1}", r"chat_template_kwargs cannot set messages"),
        ("rollout.chat_template_kwargs={return_dict: 1}", r"chat_template_kwargs cannot set return_dict"),
        ("rollout.chat_template_kwargs.return_offsets=1", r"chat_template_kwargs cannot set return_offsets"),
        ("rollout.chat_template_kwargs.add_generation_prompt=no", r"chat_template_kwargs cannot set add_generation"),
        ("name=", r"name must be a text that is not empty"),
        ("policy.model=", r"policy\.model must be a text that is not empty"),
        ("runs_dir=s3://my-bucket/runs", r"runs_dir must be a local or mounted folder, got the address"),
        ("runs_dir=gs://user:secret@bkt/x", r"runs_dir must be .* got the address 'gs://bkt/x'"),
        ("runs_dir=~nosuchuser/x", r"runs_dir='~nosuchuser/x' cannot be resolved"),
        ("policy.model=~nosuchuser/x", r"policy\.model='~nosuchuser/x' cannot be resolved"),
        ("policy.model=hf://org/model", r"policy\.model must be a local or mounted folder"),
        ("skills.library=https://host/library", r"skills\.library must be a local or mounted folder"),
        ("evaluation.panel=s3://b/p.json", r"evaluation\.panel must be a local or mounted folder"),
        ("env_config.games=~nosuchuser/x", r"env_config\.games='~nosuchuser/x' cannot be resolved"),
        ("env_config.games=s3://b/games", r"env_config\.games must be a local or mounted folder"),
        ("training.objective.teacher.model=s3://b/m", r"teacher\.model must be a local or mounted folder"),
    ],
)
def test_what_no_run_can_mean_is_refused_with_its_name(change: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("name: test\nenv: sdar/ALFWorld-v0\n")
    with pytest.raises(ConfigError, match=message) as refused:
        load_config(str(path), [change])
    assert len(str(refused.value)) < 600


def test_an_environment_with_an_address_by_design_keeps_it(tmp_path: Path) -> None:
    run = load_config("quickstart-searchqa", ["env_config.search=http://127.0.0.1:8000"])
    assert run.env_config["search"] == "http://127.0.0.1:8000"
    for name in ("questions", "corpus"):
        with pytest.raises(ConfigError, match=rf"env_config\.{name} must be a local or mounted folder"):
            load_config("quickstart-searchqa", [f"env_config.{name}=http://host/file.jsonl"])


@pytest.mark.parametrize(
    ("name", "proposal"),
    [
        ("../up", "up"),
        ("a/b c/ü", "a-b-c-u"),
        ("/tmp/y", "tmp-y"),
        ("feature/x", "feature-x"),
        (".", None),
        ("..", None),
        ("a\nb", "a-b"),
        ("con:|<>", "run-con"),
        ("\x1b]0;t\x07", "0-t"),
        ("a\u202eb", "ab"),
        ("a\\b", "a-b"),
        ("[/x]", "x"),
        ("x" * 129, "x" * 128),
    ],
)
def test_a_name_is_one_folders_name(name: str, proposal: str | None) -> None:
    with pytest.raises(ConfigError, match=r"name must be one folder name") as refused:
        load_config("quickstart", [f"name={name}"])
    told = str(refused.value)
    assert "\x1b" not in told and "\u202e" not in told and len(told.splitlines()) == 1
    assert proposal is None or f"name={proposal} would do" in told


@pytest.mark.parametrize("name", ["run", "a.b-c_D", "12e4567", ".hidden", "x" * 100])
def test_names_of_folders_are_taken(name: str) -> None:
    assert load_config("quickstart", [f"name={name}"]).name == name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: TrainingSettings(iterations=True),
            r"training\.iterations must be a whole number from 1 to 1,000,000, got True",
        ),
        (
            lambda: TrainingSettings(lr="1e-4"),
            r"training\.lr must be a finite number above 0 and at most 1, got '1e-4'",
        ),
        (lambda: TrainingSettings(lr=True), r"training\.lr must be a finite number above 0 and at most 1, got True"),
        (lambda: TrainingSettings(grad_clip=0.0), r"training\.grad_clip must be a finite number above 0, got 0"),
        (lambda: TrainingSettings(lr=10**400), r"training\.lr must be a finite number above 0 and at most 1, got 1000"),
        (
            lambda: TrainingSettings(adam_betas=(0.9, "x")),
            r"training\.adam_betas\.1 must be a finite number of at least 0 and below 1",
        ),
        (lambda: TrainingSettings(objective=[]), r"training\.objective must be a group of settings"),
        (lambda: TrainingSettings(objective={1: 2}), r"training\.objective must be a group of settings"),
        (lambda: TrainingSettings(objective_by_method={"sdar": 1}), r"objective_by_method\.sdar must be a group"),
        (lambda: PolicySettings(model=3), r"policy\.model must be a text, got 3"),
        (lambda: PolicySettings(gradient_checkpointing=1), r"policy\.gradient_checkpointing must be true or false"),
        (lambda: PolicySettings(lora=5), r"policy\.lora is a group of settings, got 5"),
        (lambda: LoraSettings(target_modules=[1]), r"policy\.lora\.target_modules must be a list of texts"),
        (lambda: SkillSettings(include_general="false"), r"skills\.include_general must be true or false"),
        (lambda: SkillSettings(field_weights={"title": "x"}), r"skills\.field_weights\.title must be a finite number"),
        (lambda: RolloutSettings(max_prompt_tokens=2.5), r"rollout\.max_prompt_tokens must be a whole number from 1"),
        (lambda: EvaluationSettings(panel=5), r"evaluation\.panel must be a text"),
        (
            lambda: EvaluationSettings(temperature=None),
            r"evaluation\.temperature must be a finite number of at least 0, got None",
        ),
        (
            lambda: ResourceSettings(num_gpus_per_learner="1"),
            r"resources\.num_gpus_per_learner must be a finite number",
        ),
    ],
)
def test_settings_from_python_are_checked_by_the_same_rules(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_numbers_of_numpy_are_numbers() -> None:
    settings = TrainingSettings(iterations=np.int64(3), lr=np.float32(0.5))
    assert (settings.iterations, type(settings.iterations), settings.lr, type(settings.lr)) == (3, int, 0.5, float)


def test_paths_mean_the_same_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("model", "games", "library", "org/name"):
        (tmp_path / folder).mkdir(parents=True)
    changes = [
        *("policy.model=model", "env_config.games=./games", "skills.library=library", "evaluation.panel=panel.json"),
        *("runs_dir=r", "training.objective.teacher={weights: external, model: org/name}"),
        "training.objective_by_method.sdpo.teacher={weights: external, model: model, rate: null}",
    ]
    run = load_config("quickstart", changes)
    monkeypatch.chdir("/")
    assert run.policy.model == str(tmp_path / "model")
    assert run.env_config["games"] == str(tmp_path / "games")
    assert run.skills.library == str(tmp_path / "library")
    assert run.evaluation.panel == str(tmp_path / "panel.json")
    assert run.runs_dir == str(tmp_path / "r")
    assert run.training.objective["teacher"]["model"] == str(tmp_path / "org/name")
    assert run.training.objective_by_method["sdpo"]["teacher"]["model"] == str(tmp_path / "model")


def test_names_that_are_no_paths_stay_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "generated").mkdir()
    (tmp_path / "alfworld").mkdir()
    (tmp_path / "gpt2").write_text("a file that lies about")
    run = load_config("quickstart", ["policy.model=org/no-such-name", "skills.library=alfworld"])
    assert run.env_config["games"] == "generated"
    assert run.policy.model == "org/no-such-name"
    assert run.skills.library == "alfworld"
    assert load_config("quickstart", ["policy.model=gpt2"]).policy.model == "gpt2"
    assert load_config("quickstart", ["runs_dir=file:///tmp/x%20y"]).runs_dir == "/tmp/x y"


@pytest.mark.parametrize(("env", "split"), [("sdar/WebShop-v0", "test"), ("sdar/SearchQA-v0", "dev")])
def test_another_environment_brings_its_own_settings(env: str, split: str) -> None:
    from sdar_gym.algorithms.sdar.config import SDARConfig
    from sdar_gym.rollout.environments import make_env

    run = load_config("quickstart", [f"env={env}", "training.lr=0.01", "evaluation.tasks=2"])
    assert "scene" not in run.env_config and run.rollout.prompt == "compact"
    assert (run.evaluation.split, run.evaluation.tasks, run.training.lr) == (split, 2, 0.01)
    assert run.training.iterations == 30, "what belongs to no environment stays"
    SDARConfig.from_run(run).check()
    made = make_env(run.env, run.env_config)
    assert made.task_ids(run.evaluation.split)
    made.close()


def test_what_was_asked_for_beside_another_environment_counts() -> None:
    changes = ["env_config.max_steps=3", "env=sdar/SearchQA-v0", "rollout.window=7", "evaluation.split=test"]
    run = load_config("quickstart", changes)
    assert run.env_config == {"questions": "plain", "task_types": ["one_hop", "two_hop"], "max_steps": 3}
    assert (run.rollout.window, run.evaluation.split) == (7, "test")


def test_arguments_in_a_file_of_ones_own_are_not_dropped_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("name: x\nenv: sdar/ALFWorld-v0\nenv_config: {games: generated, max_steps: 4}\n")
    message = r"env=sdar/WebShop-v0 does not take env_config\.games, which .*my\.yaml sets for sdar/ALFWorld-v0\. Put"
    with pytest.raises(ConfigError, match=message):
        load_config(str(path), ["env=sdar/WebShop-v0"])
    run = load_config(str(path), ["env=sdar/WebShop-v0", "env_config={}", "env_config.max_steps=2"])
    assert run.env_config == {"max_steps": 2}


def test_a_conversation_longer_than_the_model_s_context_is_refused() -> None:
    limits = {"max_prompt_tokens": 600, "max_teacher_prompt_tokens": 1000, "max_response_tokens": 12}
    talk = RolloutSettings(context="conversation", max_context_tokens=3696, **limits)
    talk.refuse_longer_than(4096)
    talk.refuse_longer_than(None)
    with pytest.raises(ValueError, match=r"max_context_tokens=3697, and the 400 tokens.* of 4096. Lower it to 3696"):
        replace(talk, max_context_tokens=3697).refuse_longer_than(4096)
