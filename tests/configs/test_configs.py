from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sdar_gym.configs import ConfigError, RunConfig, builtin_configs, load_config
from sdar_gym.configs.sections import TrainingSettings

LEAST = "name: test\nenv: sdar/ALFWorld-v0\n"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_(text: str) -> str:
        path = tmp_path / "my.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_


@pytest.mark.parametrize("name", builtin_configs())
def test_every_built_in_configuration_makes_sense(name: str) -> None:
    from sdar_gym.algorithms.sdar.config import SDARConfig

    # The model and the engine of a configuration for language models are not at hand here.
    run = load_config(name, ["policy.model=builtin:tiny", "rollout.engine=transformers"])
    SDARConfig.from_run(run).check()


def test_the_quickstart_is_there() -> None:
    assert "quickstart" in builtin_configs()
    assert load_config("quickstart").name == "quickstart"


@pytest.mark.parametrize("name", builtin_configs())
def test_the_resolved_form_reads_back_as_the_same_run(name: str, write: Any) -> None:
    run = load_config(name, ["training.adam_betas=[0.9, 0.95]", "training.lr=3e-5"])
    assert load_config(write(yaml.safe_dump(run.to_dict()))) == run


def test_what_is_left_out_has_its_default(write: Any) -> None:
    run = load_config(write(LEAST))
    assert run == RunConfig(name="test", env="sdar/ALFWorld-v0")
    assert run.training == TrainingSettings()
    assert run.training.group_size == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nmae: x", r"Unknown setting nmae .*Did you mean name\?"),
        ("trainig: {lr: 1.0}", r"Unknown setting trainig .*Did you mean training\?"),
        ("training: {grup_size: 4}", r"Unknown setting training\.grup_size .*Did you mean training\.group_size\?"),
        ("policy: {modle: x}", r"Unknown setting policy\.modle .*Did you mean policy\.model\?"),
        ("skills: {stratgy: x}", r"Unknown setting skills\.stratgy .*Did you mean skills\.strategy\?"),
        ("rollout: {temprature: 1.0}", r"Unknown setting rollout\.temprature .*Did you mean rollout\.temperature\?"),
        ("evaluation: {tsks: 4}", r"Unknown setting evaluation\.tsks .*Did you mean evaluation\.tasks\?"),
        (
            "resources: {num_learner: 1}",
            r"Unknown setting resources\.num_learner .*Did you mean resources\.num_learners\?",
        ),
        (
            "skills: {zzz: 1}",
            r"Unknown setting skills\.zzz .*Known here: strategy, library, k, include_general, backend",
        ),
        ("training: {1: 2}", r"Unknown setting training\.1 "),
        # Settings of the objective in a place where they are not.
        ("teacher: {view: skills}", r"Unknown setting teacher .*Did you mean training\.objective\.teacher\?"),
        ("training: {kl_coeff: 0}", r"Unknown setting training\.kl_coeff .*mean training\.objective\.kl_coeff\?"),
        # Names of earlier versions.
        ("algorithm: grpo", r"Unknown setting algorithm .*Did you mean method\?"),
        (
            "training: {objective_by_algorithm: {sdar: {kl_coeff: 0.0}}}",
            r"Unknown setting training\.objective_by_algorithm .*Did you mean training\.objective_by_method\?",
        ),
        (
            "policy: {teacher_residence: cpu}",
            r"Unknown setting policy\.teacher_residence .*Did you mean policy\.offload_teacher\?",
        ),
    ],
)
def test_an_unknown_key_is_named_with_what_was_meant(text: str, message: str, write: Any) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        load_config(write(LEAST + text))
    assert "my.yaml" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "training: {group_size: many}",
            r"training\.group_size must be a whole number of at most 1,000,000, got 'many' \(in .*my\.yaml\)",
        ),
        ("training: {iterations: 2.5}", r"training\.iterations must be a whole number from 1 to 1,000,000, got 2\.5"),
        (
            "training: {iterations: true}",
            r"training\.iterations must be a whole number from 1 to 1,000,000, got 'true'",
        ),
        ("training: {iterations: [true]}", r"training\.iterations is a single value, got a list \(line 3\)"),
        ("training: {lr: '0.1'}", r"training\.lr must be a finite number above 0 and at most 1, got '0\.1'"),
        ("training: {lr: yes}", r"training\.lr must be a finite number above 0 and at most 1, got 'yes'"),
        ("training: {lr: 12e4567}", r"training\.lr must be a finite number above 0 and at most 1, got '12e4567'"),
        (
            "training: {iterations: 1:30}",
            r"training\.iterations must be a whole number from 1 to 1,000,000, got '1:30'",
        ),
        ("training: {iterations: 010}", r"training\.iterations must be a whole number from 1 to 1,000,000, got '010'"),
        ("training: [1]", r"training is a group of settings \(key: value\), got a list \(line 3\)"),
        ("training:", r"training is a group of settings \(key: value\), got nothing \(line 3\)"),
        ("policy: x", r"policy is a group of settings \(key: value\), got 'x'"),
        ("training: {adam_betas: [0.9]}", r"training\.adam_betas must be a list of 2 numbers, got \[0\.9\]"),
        ("policy: {model: [3]}", r"policy\.model is a single value, got a list"),
        ("skills: {include_general: maybe}", r"skills\.include_general must be true or false, got 'maybe'"),
        (
            "skills: {field_weights: {title: x}}",
            r"skills\.field_weights\.title must be a finite number of at least 0, got 'x'",
        ),
        ("env_config: 3", r"env_config must be a group of settings \(key: value\), got 3"),
        ("seed: x", r"seed must be a whole number from 0 to 4,294,967,295, got 'x'"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_place(text: str, message: str, write: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(LEAST + text))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.group_size=1", r"training\.group_size must be at least 2, got 1: .*The published runs use 8"),
        ("training.iterations=0", r"training\.iterations must be a whole number from 1 to 1,000,000, got 0"),
        ("training.num_minibatches=0", r"training\.num_minibatches must be"),
        ("training.lr=0", r"training\.lr must be a finite number above 0 and at most 1"),
        ("training.lr=.nan", r"training\.lr must be a finite number above 0 and at most 1"),
        ("training.lr=.inf", r"training\.lr must be a finite number above 0 and at most 1"),
        ("training.grad_clip=-1", r"training\.grad_clip must be a finite number above 0"),
        ("training.weight_decay=-0.1", r"training\.weight_decay must be a finite number from 0"),
        (
            "training.adam_betas=[0.9, 1.0]",
            r"training\.adam_betas\.1 must be a finite number of at least 0 and below 1",
        ),
        ("training.invalid_action_penalty=-0.1", r"training\.invalid_action_penalty must be a finite number from 0"),
        ("training.invalid_action_penalty=.nan", r"training\.invalid_action_penalty must be a finite number from 0"),
        ("policy.dtype=float16", r"policy\.dtype must be one of float32, bfloat16, auto, float64, got 'float16'"),
        ("policy.torch_threads=0", r"policy\.torch_threads must be"),
        ("skills.k=0", r"skills\.k must be"),
        ("rollout.window=-1", r"rollout\.window must be"),
        ("rollout.max_prompt_tokens=0", r"rollout\.max_prompt_tokens must be"),
        ("rollout.max_response_tokens=0", r"rollout\.max_response_tokens must be"),
        ("rollout.temperature=0", r"rollout\.temperature must be above 0.*identical episodes teach nothing"),
        ("rollout.temperature=.inf", r"rollout\.temperature must be a finite number of at least 0"),
        ("evaluation.tasks=0", r"evaluation\.tasks must be"),
        ("evaluation.interval=-1", r"evaluation\.interval must be"),
        ("evaluation.temperature=-1", r"evaluation\.temperature must be a finite number of at least 0"),
        ("evaluation.temperature=.nan", r"evaluation\.temperature must be a finite number of at least 0"),
        ("resources.num_env_runners=-1", r"resources\.num_env_runners must be"),
        ("resources.num_learners=-1", r"resources\.num_learners must be"),
        ("resources.num_gpus_per_learner=-1", r"resources\.num_gpus_per_learner must be a finite number from 0"),
        ("checkpoint_interval=0", r"checkpoint_interval must be a whole number from 1 to 1,000,000,000, got 0"),
        ("seed=-1", r"seed must be a whole number from 0 to 4,294,967,295, got -1"),
    ],
)
def test_a_senseless_value_is_refused_with_its_name(change: str, message: str, write: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(LEAST), [change])


@pytest.mark.parametrize(
    ("change", "section", "key", "value"),
    [
        ("training.lr=1e-4", "training", "lr", 1e-4),
        ("training.lr=0.0001", "training", "lr", 1e-4),
        ("training.objective.distill.coeff=3e-2", "training", "objective", {"distill": {"coeff": 0.03}}),
        ("training.objective={distill: {coeff: 0.03}}", "training", "objective", {"distill": {"coeff": 0.03}}),
        ("training.adam_betas=[0.8, 0.9]", "training", "adam_betas", (0.8, 0.9)),
        ("skills.include_general=false", "skills", "include_general", False),
        ("skills.library=", "skills", "library", None),
        ("skills.library=my=library", "skills", "library", "my=library"),
        (" policy.model = ./runs/1e5/policy", "policy", "model", "./runs/1e5/policy"),
        (
            "rollout.chat_template_kwargs.enable_thinking=false",
            "rollout",
            "chat_template_kwargs",
            {"enable_thinking": False},
        ),
    ],
)
def test_a_change_is_read_as_yaml_and_goes_where_it_points(
    change: str, section: str, key: str, value: object, write: Any
) -> None:
    changed = getattr(getattr(load_config(write(LEAST), [change]), section), key)
    assert changed == value
    assert type(changed) is type(value)


def test_changes_lie_over_the_file_and_the_last_one_counts(write: Any) -> None:
    path = write(LEAST + "env_config: {scene: small, max_steps: 9}\nseed: 3\n")
    run = load_config(path, ["env_config.max_steps=5", "env_config.max_steps=6", "name=other"])
    assert run.env_config == {"scene": "small", "max_steps": 6}
    assert (run.seed, run.name) == (3, "other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.lr", "'training.lr' is not of the form key=value"),
        ("=3", "'=3' is not of the form key=value"),
        ("training.lr=[", r"The value of 'training\.lr=\[' is not YAML"),
        ("name.first=x", "name is a value, not a section"),
        ("training.lrr=1", r"Unknown setting training\.lrr .*Did you mean training\.lr\?"),
        (".".join(["env_config", *"x" * 100]) + "=1", r"leads more than 32 levels down"),
        ("training..lr=1", r"Unknown setting training\. "),
    ],
)
def test_a_change_that_leads_nowhere_is_refused(change: str, message: str, write: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(LEAST), [change])


def test_a_missing_configuration_is_named_with_the_known_ones(tmp_path: Path) -> None:
    for name in ("quickstrat", str(tmp_path / "missing.yaml"), str(tmp_path)):
        with pytest.raises(ConfigError, match=r"No configuration .*neither a file nor a built-in one \(.*quickstart"):
            load_config(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not valid YAML"),
        ("- 1\n- 2", "holds no settings"),
        ("", "holds no settings"),
        ("just text", "holds no settings"),
        ("name: test", "env must be set"),
        ("env: sdar/ALFWorld-v0", "name must be set"),
    ],
)
def test_what_is_no_configuration_is_refused(text: str, message: str, write: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.yaml"
    path.write_bytes(b"\xff\xfe\x00\x89PNG")
    with pytest.raises(ConfigError, match=r"Cannot read .*picture\.yaml"):
        load_config(str(path))


def test_settings_of_single_algorithms_stay_with_them() -> None:
    """What the quick start sets for SDAR must not turn GRPO into something else."""
    training = load_config("quickstart").training
    assert training.objective_of("sdar") == {"kl_coeff": 0.0, "entropy_coeff": 0.0, "distill": {"coeff": 1.0}}
    assert training.objective_of("grpo") == {"kl_coeff": 0.0, "entropy_coeff": 0.0}
    changed = load_config("quickstart", ["training.objective.distill.coeff=0.5"]).training
    assert changed.objective_of("sdar")["distill"] == {"coeff": 0.5}
