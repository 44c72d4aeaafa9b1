"""YAML that is refused although PyYAML reads it, and texts that stay texts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdar_gym.configs import ConfigError, load_config

LEAST = "name: test\nenv: sdar/ALFWorld-v0\n"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_(text: str) -> str:
        path = tmp_path / "my.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_


def bomb(levels: int = 10) -> str:
    lines = ["    - &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"    - &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            LEAST + "training: {lr: 0.1}\ntraining: {iterations: 2}\n",
            r"'training' occurs twice, in line 3 and in line 4",
        ),
        (LEAST + "training:\n  lr: 0.1\n  iterations: 1\n  lr: 0.2\n", r"'lr' occurs twice, in line 4 and in line 6"),
        (LEAST + "env_config: {games: generated, 'games': x}\n", r"'games' occurs twice, in line 3 and in line 3"),
        (LEAST + "training: {objective: {kl_coeff: 1, kl_coeff: 2}}\n", r"'kl_coeff' occurs twice"),
        ("name: first\n" + LEAST, r"'name' occurs twice, in line 1 and in line 2"),
        (LEAST + "? [a]\n: 1\n", r"line 3: a key has to be a text"),
        (LEAST + "env_config: !!python/object:os.system {}\n", r"the tag 'tag:yaml.org,2002:python/object:os.system'"),
        (LEAST + "env_config: {x: !!set {a, b}}\n", r"the tag 'tag:yaml.org,2002:set'"),
        (LEAST + "env_config: {x: !!binary aGk=}\n", r"the tag 'tag:yaml.org,2002:binary'"),
        ("a: " + "[" * 5000, r"line 1: nested more than 32 levels deep"),
        ("a: " + "{a: " * 5000, r"line 1: nested more than 32 levels deep"),
        (LEAST + "env_config: {x: &a [*a]}\n", r"is not valid YAML: nested more than 32 levels deep"),
        (
            LEAST + "training:\n  iterations:\n" + bomb(),
            r"training\.iterations is a single value, got a list \(line 5\)",
        ),
        (LEAST + "env_config:\n  games:\n" + bomb(), r"env_config\.games is a single value, got a list"),
        (LEAST + "env_config:\n  other:\n" + bomb(), r"its aliases stand for more than 20,000 values"),
        (LEAST + "x: y\n" * 70_000, r"350,0\d\d characters|more than 200,000|200,001 characters"),
        (LEAST + "---\nname: other\n", r"is not valid YAML: line 3, column 1: but found another document"),
        (LEAST + "env_config: {x: *nothing}\n", r"found undefined alias"),
        ("name: a\x00b\n", r"is not valid YAML: unacceptable character"),
    ],
)
def test_what_is_no_sane_yaml_is_one_short_line(text: str, message: str, write: Any) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        load_config(write(text))
    told = str(refused.value)
    assert "my.yaml" in told and len(told.splitlines()) == 1 and len(told) < 500


def test_merges_and_anchors_still_work(write: Any) -> None:
    text = (
        LEAST + "env_config: &e {max_steps: 3, scene: small}\ntraining: {<<: {lr: 0.1, iterations: 2}, iterations: 5}\n"
    )
    run = load_config(write(text + "evaluation: {<<: [{tasks: 4}, {tasks: 5, seed: 2}]}\n"))
    assert (run.training.lr, run.training.iterations) == (0.1, 5)
    assert (run.evaluation.tasks, run.evaluation.seed) == (4, 2)
    chain = "".join(f"  x{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 25))
    with pytest.raises(ConfigError, match=r"more than 20,000 values"):
        load_config(write(LEAST + "env_config:\n  x0: &m0 {a: 1}\n" + chain))


@pytest.mark.parametrize("name", ["12e4567", "nan", "no", "007", "1.5", "null", "2024-01-01", "true", ".inf", "1_000"])
def test_a_text_stays_the_text_that_was_written(name: str, write: Any) -> None:
    assert load_config(write(LEAST), [f"name={name}"]).name == name
    run = load_config(write(LEAST.replace("test", name)))
    assert run.name == name
    assert load_config(write(yaml.safe_dump(run.to_dict()))).name == name


@pytest.mark.parametrize(
    ("change", "section", "key", "value"),
    [
        ("policy.model=12e4567", "policy", "model", "12e4567"),
        ("policy.model=1:30", "policy", "model", "1:30"),
        ("skills.library=no", "skills", "library", "no"),
        ("skills.library=null", "skills", "library", None),
        ("skills.library='null'", "skills", "library", "null"),
        ("evaluation.split=on", "evaluation", "split", "on"),
        ("evaluation.split=[a", "evaluation", "split", "[a"),
        ("policy.lora={target_modules: [no, 1e5]}", "policy", "lora.target_modules", ["no", "1e5"]),
        ("training.objective.teacher.model=1e5", "training", "objective.teacher.model", "1e5"),
        ("training.objective.shaping.normalise=none", "training", "objective.shaping.normalise", "none"),
    ],
)
def test_the_setting_says_what_a_change_is(change: str, section: str, key: str, value: object, write: Any) -> None:
    from sdar_gym.configs.load import _Change
    from sdar_gym.configs.schema import special_types

    content: dict[str, Any] = {}
    _Change.parse(change).apply(content, special_types("sdar/ALFWorld-v0"))
    found: Any = content[section]
    for part in key.split("."):
        found = found[part]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("env_config.games=12e4567", "12e4567"),
        ("env_config.scene=no", "no"),
        ("env_config.max_steps=20", 20),
        ("env_config.success_reward=1e1", 10.0),
        ("env_config.task_types=[no]", ["no"]),
        ("env_config.unknown=1e-1", 0.1),
        ("env_config.unknown=2024-01-01", "2024-01-01"),
    ],
)
def test_an_environment_says_which_of_its_arguments_are_texts(change: str, value: object, write: Any) -> None:
    (found,) = load_config(write(LEAST), [change]).env_config.values()
    assert found == value and type(found) is type(value)


def test_numbers_in_files_may_be_written_as_everywhere(write: Any) -> None:
    run = load_config(
        write(LEAST + "training: {lr: 1e-4, micro_batch_tokens: 16_384, objective: {distill: {coeff: 3e-2}}}\n")
    )
    assert run.training.lr == 1e-4
    assert run.training.micro_batch_tokens == 16384
    assert run.training.objective == {"distill": {"coeff": 0.03}}


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "True", "FALSE"])
def test_a_truth_value_may_be_said_in_yamls_words(word: str, write: Any) -> None:
    think = load_config(write(LEAST + f"rollout: {{think: {word}}}\n")).rollout.think
    assert think is (word.lower() in ("yes", "on", "true"))


def test_a_group_that_is_none_can_be_opened_by_a_change(write: Any) -> None:
    run = load_config(write(LEAST + "policy: {lora: null}\n"), ["policy.lora.r=3"])
    assert run.policy.lora is not None and run.policy.lora.r == 3
    assert load_config(write(LEAST + "policy: {lora: {r: 3}}\n"), ["policy.lora=null"]).policy.lora is None


def test_a_mistake_of_a_change_is_said_to_be_one(write: Any) -> None:
    with pytest.raises(ConfigError, match=r"my\.yaml, by the change 'training\.lr=-1'\)\.$"):
        load_config(write(LEAST), ["seed=2", "training.lr=-1"])
    objective = "training.objective"
    for change in (f"{objective}.distill.coeff=-1", f"{objective}.foo=1", f"{objective}.distill.gate.foo=1", "seed=-1"):
        # `name` is an English word too, which some of these messages contain.
        with pytest.raises(ConfigError, match=rf"by the change '{re.escape(change)}'\)\.$"):
            load_config(write(LEAST), [change, "name=other"])


def test_settings_for_algorithms_are_checked_whether_they_run_or_not(write: Any) -> None:
    with pytest.raises(ConfigError, match=r"Unknown method 'sdra'\. Did you mean 'sdar'"):
        load_config(write(LEAST + "training: {objective_by_method: {sdra: {kl_coeff: 0.0}}}\n"))
    with pytest.raises(ConfigError, match=r"Method 'sdpo': The objective has no setting 'kl'"):
        load_config(write(LEAST + "method: grpo\ntraining: {objective_by_method: {sdpo: {kl: 0.0}}}\n"))


def test_paths_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    for name in ("~nosuchuser/x.yaml", "x" * 5000, "s3://bucket/x.yaml"):
        with pytest.raises(ValueError, match=r"^configuration"):
            load_config(name)
    with pytest.raises(ConfigError, match=r"Cannot read x+.*File name too long"):
        load_config("x" * 300)
