"""Real chat templates, as installed packages bring them: each continues a conversation exactly, or says why not."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from thinking_template import THINKING  # pyright: ignore[reportMissingImports]
from transformers import AutoTokenizer

from sdar_gym.policy.chat import ChatFormat, ChatTemplateError
from sdar_gym.policy.template_traits import TemplateTraits, template_traits

DAY = "2026-01-31"
# Special tokens as templates write them: <|im_end|>, <｜User｜>, <end_of_turn>, <|turn>, <turn|>, <s>, [INST].
_SPECIAL = re.compile(
    r"<[|｜][^<>|｜\s]+[|｜]>|<\|[a-z]+>|<[a-z]+\|>|<(?:start|end)_of_\w+>|</?s>|<bos>|<sop>|\[/?INST\]|\[gMASK\]"
)
# What a package's folder of chat templates is called, by package.
_FOLDERS = {"trl": "chat_templates", "vllm": "transformers_utils/chat_templates"}
TURNS = ("You are in a room.\n\nWhat now?", "You see a desk 1.", "It is closed.")
REPLIES = ("<action>go to desk 1</action>", "open it")


@cache
def installed() -> dict[str, Path]:
    """Chat templates in installed packages, by package and name; no package is imported."""
    found = {}
    for package, folder in _FOLDERS.items():
        spec = find_spec(package)
        for place in (spec and spec.submodule_search_locations) or ():
            files = sorted(Path(place, folder).glob("*.jinja"))
            found |= {f"{package}/{path.stem}": path for path in files}
    return found


def template(name: str) -> str:
    if name not in installed():
        pytest.skip(
            f"no chat template {name}; the package {name.partition('/')[0]} is not installed or has no such file"
        )
    return installed()[name].read_text(encoding="utf-8")


def tokenizer_for(folder: Path, text: str) -> Any:
    """The test's tokenizer with a template and its special tokens."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(set(_SPECIAL.findall(text)))})
    tokenizer.chat_template = text
    return tokenizer


def traits_of(folder: Path, name: str, **kwargs: Any) -> TemplateTraits:
    tokenizer = tokenizer_for(folder, template(name))
    return template_traits(tokenizer, ChatFormat(tokenizer, kwargs, DAY))


def assert_continues(tokenizer: Any, chat: ChatFormat) -> None:
    """Appending turn by turn gives what rendering the whole conversation gives."""
    messages = [{"role": "user", "content": TURNS[0]}]
    ids = chat.prompt_ids(messages)
    for reply, turn in zip(REPLIES, TURNS[1:], strict=True):
        end = [] if chat.turn_end is None else [chat.turn_end]
        ids += [*tokenizer.encode(reply, add_special_tokens=False), *end]
        ids += chat.continuation_ids(turn, ended=bool(end))
        # A template that writes the start of a response has it as part of the past response.
        messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": turn}]
        if end:
            assert ids == chat.prompt_ids(messages)
        else:
            assert tokenizer.decode(ids) == chat.text(messages)


@pytest.mark.parametrize("kwargs", [{}, {"enable_thinking": False}], ids=["default", "no thinking"])
def test_every_installed_template_continues_exactly_or_is_known_to_rewrite_or_refuses_in_a_sentence(
    kwargs: dict[str, Any], policy_folder: Path
) -> None:
    if not installed():
        pytest.skip("no installed package brings chat templates; `pip install trl` brings some")
    outcomes = {"continues": 0, "rewrites": 0, "refused": 0}
    for name in installed():
        tokenizer = tokenizer_for(policy_folder, template(name))
        chat = ChatFormat(tokenizer, kwargs, DAY)
        try:
            traits = template_traits(tokenizer, chat)
        except ChatTemplateError as error:
            assert "\n" not in str(error) and str(error).startswith("The chat template "), name
            outcomes["refused"] += 1
            continue
        if traits.keeps_plain and not traits.response_start:
            assert traits.continues, name
            assert_continues(tokenizer, chat)
            outcomes["continues"] += 1
        elif not traits.keeps_plain:
            # What is appended differs from the template's own rendering, which is why a conversation forks.
            with pytest.raises(AssertionError):
                assert_continues(tokenizer, chat)
            outcomes["rewrites"] += 1
    assert outcomes["continues"] > 0 and outcomes["rewrites"] > 0


# name -> system message, alternation, end token, start of a response, keeps plain and thinking responses
KNOWN: dict[str, tuple[str, bool, str, str, bool, bool]] = {
    "trl/qwen2_5": ("read", False, "<|im_end|>", "", True, True),
    "trl/qwen3": ("read", False, "<|im_end|>", "", True, False),
    "trl/qwen3_instruct_2507": ("read", False, "<|im_end|>", "", True, True),
    "trl/qwen3_training": ("read", False, "<|im_end|>", "", False, True),
    "trl/llama3_2": ("read", False, "<|eot_id|>", "", True, True),
    "trl/gemma": ("refused", True, "<end_of_turn>", "", True, True),
    "trl/gemma3": ("read", True, "<end_of_turn>", "", True, True),
    "trl/phi3": ("read", False, "<|end|>", "", True, True),
    "trl/cohere": ("read", True, "<|END_OF_TURN_TOKEN|>", "", True, True),
    "trl/deepseek_r1_distill": ("read", False, "<｜end▁of▁sentence｜>", "<think>\n", True, False),
    "trl/glm4moe": ("read", False, "<|user|>", "", False, False),
    "vllm/template_chatml": ("read", False, "<|im_end|>", "", True, True),
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known_of_a_template(name: str, policy_folder: Path) -> None:
    traits = traits_of(policy_folder, name)
    tokenizer = tokenizer_for(policy_folder, template(name))
    assert traits.turn_end is not None
    end = tokenizer.convert_ids_to_tokens(traits.turn_end)
    found = (traits.system, traits.alternates, end, traits.response_start, traits.keeps_plain, traits.keeps_thinking)
    assert found == KNOWN[name]


def test_qwen3_without_thinking_rewrites_its_empty_block(policy_folder: Path) -> None:
    traits = traits_of(policy_folder, "trl/qwen3", enable_thinking=False)
    assert traits.thinking_closed and not traits.keeps_plain and not traits.continues


def test_a_template_with_a_date_has_the_given_one(policy_folder: Path) -> None:
    assert traits_of(policy_folder, "trl/llama3_2").asks_for_clock
    tokenizer = tokenizer_for(policy_folder, template("trl/llama3_2"))
    talk = [{"role": "user", "content": "Hello."}]
    texts = [ChatFormat(tokenizer, {}, day).text(talk) for day in (DAY, DAY, "2026-02-01")]
    assert texts[0] == texts[1] != texts[2] and "31 Jan 2026" in texts[0]


@pytest.mark.parametrize("name", ["trl/smolvlm", "trl/llava_next"])
def test_a_template_for_images_is_refused_in_a_sentence(name: str, policy_folder: Path) -> None:
    tokenizer = tokenizer_for(policy_folder, template(name))
    with pytest.raises(ChatTemplateError, match="leaves out the text of the user's message"):
        template_traits(tokenizer, ChatFormat(tokenizer, {}, DAY))


def test_the_system_message_that_a_template_writes_itself(policy_folder: Path) -> None:
    assert "Qwen" in traits_of(policy_folder, "trl/qwen2_5").own_system
    assert traits_of(policy_folder, "trl/qwen3").own_system == ""
    assert traits_of(policy_folder, "trl/gemma").own_system == ""


def test_the_written_thinking_template(policy_folder: Path) -> None:
    tokenizer = tokenizer_for(policy_folder, THINKING)
    on, off = (template_traits(tokenizer, ChatFormat(tokenizer, kwargs)) for kwargs in ({}, {"enable_thinking": False}))
    assert (on.keeps_plain, on.keeps_thinking, on.continues, on.thinking_closed) == (True, False, True, False)
    assert (off.keeps_plain, off.keeps_thinking, off.continues, off.thinking_closed) == (False, False, False, True)


def test_the_template_of_smollm2(smollm2: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(smollm2)
    chat = ChatFormat(tokenizer)
    traits = template_traits(tokenizer, chat)
    assert (traits.system, traits.alternates, traits.continues, traits.keeps_thinking) == ("read", False, True, True)
    assert "SmolLM" in traits.own_system
    assert_continues(tokenizer, chat)
