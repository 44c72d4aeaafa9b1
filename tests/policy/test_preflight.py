"""Preflight check of a policy: refusals before Ray starts, and notes for the user."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

import sdar_gym.envs  # noqa: F401
from sdar_gym.configs.sections import LoraSettings, PolicySettings, RolloutSettings
from sdar_gym.envs.prompting import EpisodeView, ParsedAction, prompt_template
from sdar_gym.policy.errors import NonFiniteWeightsError, PolicyLoadError
from sdar_gym.policy.preflight import PolicyFacts, check_policy

SHORT: dict[str, Any] = {"max_prompt_tokens": 1000, "max_response_tokens": 100}


def check(folder: Path | str, env: str = "ALFWorld", lora: LoraSettings | None = None, **settings: Any) -> PolicyFacts:
    more = {key: settings.pop(key) for key in ("view", "teacher", "template") if key in settings}
    rollout = RolloutSettings(**SHORT | settings)
    more.setdefault("template", prompt_template(f"sdar/{env}-v0", rollout.prompt))
    return check_policy(str(folder), rollout=rollout, policy=PolicySettings(lora=lora), **more)


@pytest.fixture
def copied(policy_folder: Path, tmp_path: Path) -> Path:
    """A saved policy that may be changed."""
    return Path(shutil.copytree(policy_folder, tmp_path / "policy"))


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_template(folder: Path, new: Callable[[str], str]) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(new(path.read_text()))


def save(kind: str, tokenizer: Any, folder: Path, **settings: Any) -> Path:
    """A small model of some architecture with a tokenizer of the tests."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 2048,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes | settings)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("env", ["ALFWorld", "WebShop", "SearchQA"])
@pytest.mark.parametrize("think", [True, False])
def test_a_good_policy_passes_in_every_environment(env: str, think: bool) -> None:
    facts = check("builtin:tiny", env, think=think)
    assert facts.stop_tokens == ("<|im_end|>",)
    assert facts.context_length == 4096
    assert facts.shape.parameters == 194_240
    assert (facts.asks_for_clock, facts.response_start, facts.unusable_ids, facts.notes) == (False, "", 0, ())


def test_the_compact_prompt_has_tags_though_it_asks_for_none() -> None:
    assert check("builtin:tiny", prompt="compact", think=False).notes == ()


def test_worked_turns_and_a_system_message_are_rendered_too(copied: Path) -> None:
    assert check(copied, system="Be brief.", few_shot=2).notes == ()
    refuse = "{%- if messages[0]['role'] == 'system' -%}{{ raise_exception('System role not supported') }}{%- endif -%}"
    change_template(copied, lambda text: refuse + text)
    check(copied)
    message = r"cannot render these messages \(roles: system, user\): TemplateError: System role not supported"
    with pytest.raises(PolicyLoadError, match=rf"policy\.model='{copied}': .*{message}"):
        check(copied, system="Be brief.")


def test_a_template_that_wants_roles_to_alternate(copied: Path) -> None:
    alternate = (
        "{%- for m in messages -%}{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}"
        "{{ raise_exception('Roles must alternate') }}{%- endif -%}{%- endfor -%}"
    )
    change_template(copied, lambda text: alternate + text)
    check(copied, few_shot=1)
    with pytest.raises(PolicyLoadError, match="Roles must alternate"):
        check(copied, few_shot=1, system="Be brief.")


def test_a_template_that_leaves_a_message_out_is_refused(copied: Path) -> None:
    change_template(copied, lambda text: text.replace("for message in messages", "for message in messages[-1:]"))
    check(copied)
    with pytest.raises(
        PolicyLoadError, match=r"leaves out or changes the message of the role 'system' \('Be brief\.'\)"
    ):
        check(copied, system="Be brief.")


# Lengths.


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("llama", {"max_position_embeddings": 128}),
        ("gpt2", {"n_embd": 32, "n_head": 2, "n_layer": 1, "max_position_embeddings": 128}),
        ("opt", {"max_position_embeddings": 128, "ffn_dim": 32, "word_embed_proj_dim": 32}),
    ],
)
def test_prompts_longer_than_the_model_reads_are_refused(
    kind: str, settings: Any, tokenizer: Any, tmp_path: Path
) -> None:
    folder = save(kind, tokenizer, tmp_path, **settings)
    assert check(folder, max_prompt_tokens=100, max_response_tokens=28).context_length == 128
    message = (
        rf"rollout\.max_prompt_tokens \+ max_response_tokens = 2,560 is more than the 128 tokens that "
        rf"policy\.model='{folder}' can read"
    )
    with pytest.raises(ValueError, match=message):
        check(folder, max_prompt_tokens=2048, max_response_tokens=512)
    with pytest.raises(ValueError, match=r"max_response_tokens = 129 is more than the 128"):
        check(folder, max_prompt_tokens=100, max_response_tokens=29)


def test_the_teacher_s_prompts_count_as_well(tokenizer: Any, tmp_path: Path) -> None:
    folder = save("llama", tokenizer, tmp_path, max_position_embeddings=512)
    check(folder, max_prompt_tokens=400, max_teacher_prompt_tokens=412)
    with pytest.raises(
        ValueError, match=r"rollout\.max_teacher_prompt_tokens \+ max_response_tokens = 513 is more than"
    ):
        check(folder, max_prompt_tokens=400, max_teacher_prompt_tokens=413)


def test_another_teacher_s_context_counts_as_well(tokenizer: Any, tmp_path: Path) -> None:
    student = save("llama", tokenizer, tmp_path / "student")
    teacher = save("llama", tokenizer, tmp_path / "teacher", max_position_embeddings=512)
    check(student, teacher=str(student))
    with pytest.raises(
        ValueError, match=rf"= 1,100 is more than the 512 tokens that teacher\.model='{teacher}' can read"
    ):
        check(student, teacher=str(teacher))


def test_a_tokenizer_s_length_is_no_evidence(copied: Path) -> None:
    change(copied / "tokenizer_config.json", model_max_length=16)
    check(copied)


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "dynamic", "factor": 8.0},
        {
            "rope_type": "longrope",
            "factor": 8.0,
            "original_max_position_embeddings": 256,
            "long_factor": [2.0] * 8,
            "short_factor": [1.0] * 8,
        },
    ],
    ids=["dynamic", "longrope"],
)
def test_positions_that_follow_the_batch_are_refused_where_they_would(
    rope: Any, tokenizer: Any, tmp_path: Path
) -> None:
    length = 256 if rope["rope_type"] == "dynamic" else 2048
    folder = save(
        "llama",
        tokenizer,
        tmp_path,
        max_position_embeddings=length,
        rope_parameters={"rope_theta": 1e4, **rope},
    )
    check(folder, max_prompt_tokens=200, max_response_tokens=56)
    kind = rope["rope_type"]
    with pytest.raises(
        ValueError, match=rf"= 257 is more than the 256 .*by the longest row of a batch \(rope_type {kind}\)"
    ):
        check(folder, max_prompt_tokens=200, max_response_tokens=57)


def test_a_fixed_scale_is_taken(tokenizer: Any, tmp_path: Path) -> None:
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 256}
    folder = save("llama", tokenizer, tmp_path, max_position_embeddings=256, rope_parameters=yarn)
    assert check(folder).context_length == 2048


# The end of a response.


def test_the_template_s_end_of_turn_is_added_and_said(copied: Path) -> None:
    change(copied / "tokenizer_config.json", eos_token="<|endoftext|>")
    change(copied / "config.json", eos_token_id=0)
    (copied / "generation_config.json").unlink()
    facts = check(copied)
    assert facts.stop_tokens == ("<|endoftext|>", "<|im_end|>")
    (note,) = facts.notes
    assert note.startswith(
        "The chat template ends a response with <|im_end|>, which neither the generation settings nor"
    )


def test_qwen_s_base_model(data_dir: Callable[[str], Path], tmp_path: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(data_dir("qwen_tokenizer"))
    folder = save("qwen2", tokenizer, tmp_path, vocab_size=151_936, hidden_size=16)
    facts = check(folder)
    assert facts.stop_tokens == ("<|endoftext|>", "<|im_end|>")
    assert facts.unusable_ids == 290
    (note,) = facts.notes
    assert note.startswith("The chat template ends a response with <|im_end|>")


def test_a_template_that_ends_a_response_with_words_is_told(copied: Path) -> None:
    plain = (
        "{%- for m in messages -%}### {{ m.role }}\n{{ m.content }}\n\n{%- endfor -%}"
        "{%- if add_generation_prompt -%}### assistant\n{%- endif -%}"
    )
    change_template(copied, lambda text: plain)
    (note,) = check(copied).notes
    assert note == ("The chat template has no token that ends a response; sampling stops only at <|im_end|>.")


def test_a_stop_token_in_the_form_of_a_response_is_refused(copied: Path) -> None:
    change(copied / "generation_config.json", eos_token_id=[2, _id(copied, "</action>")])
    with pytest.raises(
        PolicyLoadError, match=r"The token '</action>' ends a response and is part of the form.*'<think>"
    ):
        check(copied)


def test_a_stop_token_that_the_template_writes_inside_a_response_is_refused(copied: Path) -> None:
    change(copied / "generation_config.json", eos_token_id=[2, _id(copied, "</think>")])
    change_template(
        copied,
        lambda text: text.replace(
            "message['content'] +", "('<think></think>' if message.role == 'assistant' else '') + message['content'] +"
        ),
    )
    with pytest.raises(PolicyLoadError, match="writes </think> inside a response, and it is a stop token"):
        check(copied, think=False)


def _id(folder: Path, token: str) -> int:
    return int(AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(token))


# Text to ids and back.


def test_tags_that_are_special_tokens_are_fine(copied: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(copied)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<action>", "</action>", "<think>", "</think>"]})
    tokenizer.save_pretrained(copied)
    check(copied)


def words() -> Any:
    """A tokenizer of whole words and characters, which does not give every text back."""
    letters = [chr(code) for code in range(33, 127) if chr(code) not in "<>"]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(["[UNK]", "[PAD]", "[END]", *letters]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # pyright: ignore[reportCallIssue]
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.WordPiece()  # pyright: ignore[reportAttributeAccessIssue]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", eos_token="[END]")
    fast.chat_template = "{%- for m in messages -%}{{ m.content }}[END]{%- endfor -%}"
    return fast


def test_a_tokenizer_that_loses_the_tags_is_refused(tmp_path: Path) -> None:
    folder = save("llama", words(), tmp_path)
    with pytest.raises(
        PolicyLoadError, match=r"The tokenizer loses <action>, </action>: '<action>go to desk 1</action>'"
    ):
        check(folder, think=False)
    with pytest.raises(PolicyLoadError, match=r"loses <think>, </think>, <action>, </action>"):
        check(folder, think=True)
    with pytest.raises(PolicyLoadError, match=r"loses <search>, </search>"):
        check(folder, "SearchQA", think=False)


def test_a_tokenizer_that_changes_actions_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    folder = save("llama", tokenizer, tmp_path)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["normalizer"] = {"type": "Replace", "pattern": {"String": "desk"}, "content": "d"}
    path.write_text(json.dumps(content))
    with pytest.raises(PolicyLoadError, match=r"changes responses: .* is decoded as '<action>go to d 1</action>'"):
        check(folder, think=False)


@pytest.mark.parametrize(
    ("normalizer", "text"),
    [
        ({"type": "Lowercase"}, "'Go to Desk 1' becomes 'go to desk 1'"),
        ({"type": "StripAccents"}, ""),
        ({"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}, "'two  blanks' becomes 'two blanks'"),
        ({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]}, "becomes 'creme brulee'"),
    ],
)
def test_text_that_is_changed_a_little_is_told(normalizer: Any, text: str, tokenizer: Any, tmp_path: Path) -> None:
    folder = save("llama", tokenizer, tmp_path)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"normalizer": normalizer}))
    notes = [note for note in check(folder).notes if "does not preserve all text" in note]
    assert len(notes) == bool(text)
    assert all(text in note for note in notes)


def test_an_environment_with_another_form_is_left_alone(policy_folder: Path) -> None:
    class Json:
        def messages(self, view: EpisodeView, **kwargs: Any) -> list[dict[str, str]]:
            return [{"role": "user", "content": f"{view.goal}: answer in JSON."}]

        def parse(self, answer: str, *, think: bool) -> ParsedAction:
            return ParsedAction(answer, answer.startswith("{"))

    assert check(policy_folder, template=Json()).notes == ()


def test_a_view_of_one_s_own_is_what_is_rendered(policy_folder: Path) -> None:
    seen: list[EpisodeView] = []

    class Watching:
        def messages(self, view: EpisodeView, **kwargs: Any) -> list[dict[str, str]]:
            seen.append(view)
            return [{"role": "user", "content": view.goal}]

        def parse(self, answer: str, *, think: bool) -> ParsedAction:
            return ParsedAction(answer, True)

    view = EpisodeView("my goal", (), "x", ())
    check(policy_folder, template=Watching(), view=view)
    assert seen == [view]


@pytest.mark.parametrize("token", [0, -1])
def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(token: int, tokenizer: Any, tmp_path: Path) -> None:
    folder = save("llama", tokenizer, tmp_path, vocab_size=len(tokenizer) + token)
    if token == 0:
        check(folder)
        return
    with pytest.raises(PolicyLoadError, match=rf"has {len(tokenizer)} tokens, and the model has {len(tokenizer) - 1};"):
        check(folder)


# The chat template's settings.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frozen_clock": []}, r"must not include frozen_clock"),
        ({"chat_template": "{{ x.y.z }}"}, r"cannot render these messages \(roles: user\): UndefinedError"),
        ({"chat_template": "{% for %}"}, r"The chat template is damaged: .* \(line 1\)"),
        ({"chat_template": 5}, r"cannot render these messages"),
        (
            {"enable_thinkin": False},
            r"has 'enable_thinkin', which the chat template does not read\. Did you mean enable_th",
        ),
        ({"colour": 1}, r"has 'colour', which the chat template does not read\.$"),
    ],
)
def test_settings_that_break_the_template_are_one_clear_error(copied: Path, settings: Any, message: str) -> None:
    change_template(copied, lambda text: text + "{% if enable_thinking is defined %}{% endif %}")
    with pytest.raises(PolicyLoadError, match=message) as refused:
        check(copied, chat_template_kwargs=settings)
    assert "\n" not in str(refused.value)
    check(copied, chat_template_kwargs={"enable_thinking": False})


def test_a_template_of_one_s_own_may_be_given(policy_folder: Path) -> None:
    template = (
        "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}{% generation %}{{ mood }}{% endgeneration %}"
    )
    check(policy_folder, chat_template_kwargs={"chat_template": template, "mood": "calm"})


@pytest.mark.parametrize("random", ["{{ [1, 2, 3] | random }}", "{{ lipsum(1) }}"])
def test_a_template_that_draws_at_random_is_refused(copied: Path, random: str) -> None:
    change_template(copied, lambda text: text + random)
    with pytest.raises(PolicyLoadError, match="The chat template is random"):
        check(copied)


def test_a_template_with_a_date_is_told_until_there_is_one(copied: Path) -> None:
    change_template(copied, lambda text: "Today: {{ strftime_now('%d %b %Y') }}" + text)
    facts = check(copied)
    assert facts.asks_for_clock
    assert facts.notes == (
        "The chat template writes today's date; set rollout.date for the same prompts on another day.",
    )
    assert check(copied, date="2026-03-05").notes == ()


OPEN = "{{ '<think>\n' }}{%- endif -%}"
SWITCH = (
    "{%- if enable_thinking is defined and enable_thinking is false -%}{{ '<think>\n\n</think>\n\n' }}{%- endif -%}"
)


def test_reasoning_that_the_template_opens_is_told(copied: Path) -> None:
    change_template(copied, lambda text: text.removesuffix("{%- endif -%}") + OPEN)
    facts = check(copied)
    assert (facts.response_start, facts.notes) == ("<think>\n", ())
    (note,) = check(copied, think=False).notes
    assert note.startswith("The chat template opens <think> although rollout.think is false")


def test_the_switch_of_qwen3_is_told(copied: Path) -> None:
    change_template(copied, lambda text: text.removesuffix("{%- endif -%}") + SWITCH + "{%- endif -%}")
    off = {"enable_thinking": False}
    assert check(copied).notes == ()
    assert check(copied, think=False, chat_template_kwargs=off).notes == ()
    (note,) = check(copied, think=False).notes
    assert "rollout.chat_template_kwargs={enable_thinking: false} prevents it" in note
    (note,) = check(copied, chat_template_kwargs=off).notes
    assert note.startswith("The chat template writes an empty <think></think> before the response, and the prompt asks")


# Weights and adapters.


def test_small_weights_are_tried(copied: Path) -> None:
    path = copied / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(
        NonFiniteWeightsError, match=r"hold 1 numbers that are not finite, model\.norm\.weight among them"
    ):
        check(copied)
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(PolicyLoadError, match="is a Git LFS pointer"):
        check(copied)


def test_adapters_are_checked_without_weights(policy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdar_gym.policy.preflight._SMALL_BYTES", 0)
    monkeypatch.setattr("sdar_gym.policy.preflight.load_model", lambda *args: pytest.fail("loaded"))
    check(policy_folder, lora=LoraSettings(target_modules=["q_proj"]))
    check(policy_folder, lora=LoraSettings())
    with pytest.raises(
        ValueError, match=r"target_modules has 'nope', and qwen3 has no such linear layer; choose among "
    ):
        check(policy_folder, lora=LoraSettings(target_modules=["nope"]))
    with pytest.raises(ValueError, match=r"target_modules cannot include 'lm_head'"):
        check(policy_folder, lora=LoraSettings(target_modules=["lm_head"]))


def test_damaged_generation_settings_are_refused(copied: Path) -> None:
    (copied / "generation_config.json").write_text("{")
    with pytest.raises(PolicyLoadError, match="Could not load the generation settings of "):
        check(copied)
    (copied / "generation_config.json").unlink()
    assert check(copied).stop_tokens == ("<|im_end|>",)


def test_what_is_no_language_model_is_refused_before_its_weights(copied: Path) -> None:
    change(copied / "config.json", model_type="t5")
    with pytest.raises(PolicyLoadError, match="Could not load the model of ") as refused:
        check(copied)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "message"), [("nope", "HF_HUB_OFFLINE is set"), ("builtin:huge", "No built-in policy")]
)
def test_names_that_lead_nowhere(name: str, message: str) -> None:
    with pytest.raises(PolicyLoadError, match=message):
        check(name)


def test_a_folder_of_adapters_is_checked_by_its_base(policy_folder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model: Any = AutoModelForCausalLM.from_pretrained(policy_folder)
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(str(tmp_path))
    assert check(tmp_path) == check(policy_folder)
