from __future__ import annotations

import copy
from typing import Any

import pytest

from sdar_gym.envs.prompting import EpisodeView, PastTurn, PrivilegedContext, WindowTemplate, skill_context
from sdar_gym.rollout.context import PromptLimits, PromptTooLongError
from sdar_gym.rollout.window_context import WindowContext

GOAL, NOW = "put a hot egg in fridge.", "You are at countertop 1."
SKILL = skill_context("Heat it in the microwave.")
assert SKILL is not None
HISTORY = tuple(PastTurn(f"You see a drawer {n}.", f"open drawer {n}") for n in range(1, 6))
VIEW = EpisodeView(GOAL, HISTORY, NOW, ("take egg 1 from countertop 1",))
FIRST = EpisodeView(GOAL, (), NOW, ())


def builder(
    tokenizer: Any, *, window: int = 5, limit: int = 10_000, teacher_limit: int | None = None, **settings: Any
) -> WindowContext:
    limits = PromptLimits(limit, teacher_limit or limit)
    return WindowContext(tokenizer, WindowTemplate("You are an agent."), limits, window=window, think=False, **settings)


def test_the_ids_are_those_of_the_chat_template_up_to_the_answer(tokenizer: Any) -> None:
    ids = builder(tokenizer, window=2).first_prompt(VIEW, SKILL).ids
    messages = WindowTemplate("You are an agent.").messages(VIEW, window=2, privileged=SKILL, think=False)
    assert ids == tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    text = tokenizer.decode(ids)
    assert text.startswith("<|im_start|>user\n")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("skill", [None, SKILL], ids=["student", "teacher"])
def test_whole_old_turns_go_first_and_nothing_else_does(tokenizer: Any, skill: PrivilegedContext | None) -> None:
    lengths = [len(builder(tokenizer, window=window).first_prompt(VIEW, skill).ids) for window in range(6)]
    assert lengths == sorted(set(lengths))
    for kept, length in enumerate(lengths):
        ids = builder(tokenizer, limit=length).first_prompt(VIEW, skill).ids
        assert ids == builder(tokenizer, window=kept).first_prompt(VIEW, skill).ids
        text = tokenizer.decode(ids)
        assert [f"drawer {n}" in text for n in range(1, 6)] == [n > 5 - kept for n in range(1, 6)]
        assert all(
            part in text
            for part in (GOAL, skill.text if skill else "", NOW, "take egg 1", "<action>", "You are an agent.")
        )
        if kept:  # One token less, and one more turn has to go.
            shorter = builder(tokenizer, limit=length - 1).first_prompt(VIEW, skill).ids
            assert len(shorter) == lengths[kept - 1]
    shortest = lengths[0]
    setting = r"max_teacher_prompt_tokens" if skill else r"max_prompt_tokens"
    with pytest.raises(PromptTooLongError, match=rf"has {shortest} tokens.*limit is {shortest - 1}.*{setting}"):
        builder(tokenizer, limit=shortest - 1).first_prompt(VIEW, skill)


def test_the_teacher_may_lose_turns_that_the_student_keeps(tokenizer: Any) -> None:
    limit = len(builder(tokenizer).first_prompt(VIEW).ids)
    tight = builder(tokenizer, limit=limit)
    assert "drawer 1" in tokenizer.decode(tight.first_prompt(VIEW).ids)
    teacher = tokenizer.decode(tight.first_prompt(VIEW, SKILL).ids)
    assert SKILL.text in teacher
    assert "drawer 1" not in teacher


def test_the_first_turn_has_no_history_to_drop(tokenizer: Any) -> None:
    length = len(builder(tokenizer).first_prompt(FIRST).ids)
    with pytest.raises(PromptTooLongError, match="without any past turn"):
        builder(tokenizer, limit=length - 1).first_prompt(FIRST)


def test_settings_of_the_chat_template_reach_it(tokenizer: Any) -> None:
    talkative = copy.deepcopy(tokenizer)
    talkative.chat_template = "{% if enable_thinking %}<think>{% endif %}{{ messages[0]['content'] }}"
    plain = builder(talkative).first_prompt(FIRST).ids
    thinking = builder(talkative, chat_template_kwargs={"enable_thinking": True}).first_prompt(FIRST).ids
    assert thinking == [talkative.convert_tokens_to_ids("<think>"), *plain]


def test_student_and_teacher_have_limits_of_their_own(tokenizer: Any) -> None:
    student = builder(tokenizer).first_prompt(VIEW)
    both = builder(tokenizer, limit=len(student.ids), teacher_limit=10_000)
    assert both.first_prompt(VIEW) == student and student.dropped_turns == 0
    assert both.first_prompt(VIEW, SKILL) == builder(tokenizer).first_prompt(VIEW, SKILL)
    assert builder(tokenizer, limit=len(student.ids) - 1).first_prompt(VIEW).dropped_turns == 1


def test_opening_messages_stand_before_every_turn(tokenizer: Any) -> None:
    opening = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Example"},
        {"role": "assistant", "content": "<action>look</action>"},
    ]
    context = builder(tokenizer)
    context.opening += opening
    text = tokenizer.decode(context.first_prompt(VIEW).ids)
    plain = tokenizer.decode(builder(tokenizer).first_prompt(VIEW).ids)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nExample<|im_end|>\n"
        f"<|im_start|>assistant\n<action>look</action><|im_end|>\n{plain}"
    )


def test_the_history_keeps_the_end_of_an_untagged_response(tokenizer: Any) -> None:
    history = (PastTurn("you see a desk 1.", "x" * 40 + " go to desk 1", tagged=False), PastTurn("then", "y" * 40))
    view = EpisodeView(GOAL, history, NOW, ())
    text = tokenizer.decode(builder(tokenizer, untagged_characters=20).first_prompt(view).ids)
    assert f"'{'x' * 7} go to desk 1'" in text and "x" * 8 not in text
    assert "y" * 40 in text  # A tagged action is kept whole.
    assert "x" * 40 in tokenizer.decode(builder(tokenizer).first_prompt(view).ids)


def test_a_prompt_is_built_once(tokenizer: Any) -> None:
    calls = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(tokenizer, name)

        def encode(self, text: str, **kwargs: Any) -> list[int]:
            calls.append(text)
            return tokenizer.encode(text, **kwargs)

    context = builder(Counting())
    first = context.first_prompt(VIEW).ids
    assert context.first_prompt(VIEW).ids is first and len(calls) == 1
    context.first_prompt(VIEW, SKILL)
    assert len(calls) == 2


def test_senseless_limits_are_refused(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=r"window must be at least 0, got -1"):
        builder(tokenizer, window=-1)
    with pytest.raises(ValueError, match=r"max_prompt_tokens must be at least 1, got 0"):
        builder(tokenizer, limit=0)
