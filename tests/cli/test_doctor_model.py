"""`sdar-gym doctor --model`: what fits a model, and one line for what is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from thinking_template import THINKING  # pyright: ignore[reportMissingImports]

from sdar_gym.cli.doctor import Finding
from sdar_gym.cli.doctor_model import model_findings
from sdar_gym.policy.errors import PolicyLoadError
from sdar_gym.rollout.turn_lengths import TurnLengths

ENV = "sdar/SearchQA-v0"


@pytest.fixture
def report(policy_folder: Path) -> dict[str, Finding]:
    return {finding.what: finding for finding in model_findings(str(policy_folder), ENV)}


@pytest.fixture
def changed(policy_folder: Path, tmp_path: Path) -> Any:
    """Copies the policy, with another template or another setting in its config.json."""

    def change(template: str | None = None, **config: Any) -> dict[str, Finding]:
        folder = tmp_path / "changed"
        shutil.copytree(policy_folder, folder)
        if template is not None:
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config), encoding="utf-8")
        return {finding.what: finding for finding in model_findings(str(folder), ENV)}

    return change


def test_a_model_is_described_without_loading_its_weights(report: dict[str, Finding]) -> None:
    assert "qwen3" in report["model"].state and "float32" in report["model"].state
    assert report["context length"].state == "4,096 tokens"
    # 2 layers, one head of 16 keys and 16 values, four bytes each.
    assert report["keys and values"].state.startswith("0.2 KiB a token in float32; 1 MiB")
    assert report["conversation"].state == "past responses stay as sampled: one sequence an episode"
    assert report["date"].state == "none" and report["generation prompt"].state == "writes no <think>"
    assert report["end tokens"].state == "<|im_end|>"
    assert "skills" in report[f"turns of {ENV}"].state
    # The test's tokenizer knows few words, so that its prompts are long.
    assert "of 4 turns" in report["longest episode"].state


def test_a_template_that_rewrites_the_past_is_named_with_its_remedy(changed: Any) -> None:
    found = changed(THINKING)["conversation"]
    assert "rewrites thinking" in found.state and "rewritten_history=keep" in found.fix


def test_a_short_context_says_what_does_not_fit(changed: Any) -> None:
    found = changed(max_position_embeddings=600)
    assert "lower rollout.max_response_tokens" in found["window"].fix
    assert found["longest episode"].state.startswith("0 of 4 turns") and found["longest episode"].fix


def test_a_template_without_system_messages_says_so(changed: Any) -> None:
    refusing = (
        "{%- if messages[0].role == 'system' -%}{{ raise_exception('none') }}{%- endif -%}"
        "{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
    )
    found = changed(refusing)["system message"]
    assert (found.state, found.fix) == ("refused", "leave rollout.system unset")


@pytest.mark.parametrize("content", [(), ("notes.txt",), ("model.gguf",), ("tokenizer.json",)])
def test_what_is_no_model_is_one_line(content: tuple[str, ...], tmp_path: Path) -> None:
    for name in content:
        (tmp_path / name).write_text("{}", encoding="utf-8")
    with pytest.raises(PolicyLoadError) as refused:
        model_findings(str(tmp_path), ENV)
    assert "\n" not in str(refused.value) and str(tmp_path) in str(refused.value)


def test_the_number_of_turns_that_fit() -> None:
    lengths = TurnLengths(first=100, with_skills=300, added=40.0, window=500, turns=50, policy="expert")
    # The first turn takes 300 + 60, each further one 40 + 60.
    assert [lengths.turns_that_fit(context, 60) for context in (359, 360, 459, 460, 1360)] == [0, 1, 1, 2, 11]


def test_smollm2_fits_alfworld(smollm2: Path) -> None:
    found = {finding.what: finding for finding in model_findings(str(smollm2), "sdar/ALFWorld-v0")}
    assert "134.5M" in found["model"].state and found["context length"].state == "8,192 tokens"
    # 30 layers, three heads of 64 keys and 64 values, four bytes each.
    assert found["keys and values"].state.startswith("45.0 KiB a token in float32; 360 MiB")
    assert "SmolLM" in found["system message"].state
    assert "also an end token" in found["padding"].state
    # With the published responses of 512 tokens an episode of 50 turns does not fit.
    assert "rollout.max_response_tokens=" in found["longest episode"].fix
