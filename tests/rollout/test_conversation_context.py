"""Conversation context: one sequence an episode, sampled ids as they are, forks, limits, the teacher's prompt."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from test_collector import ENV, ENV_CONFIG, GAMES, TASKS  # pyright: ignore[reportMissingImports]
from test_privileged_context import PlannedEngine  # pyright: ignore[reportMissingImports]
from thinking_template import THINKING  # pyright: ignore[reportMissingImports]

from sdar_gym.configs.sections import RolloutSettings, SkillSettings
from sdar_gym.envs.prompting import action_changes, action_list
from sdar_gym.policy.chat import ChatFormat
from sdar_gym.rollout.build import build_collector, build_context, build_retriever
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.engines import GenerationRequest, SamplingParams
from sdar_gym.rollout.metrics import episode_metrics
from sdar_gym.rollout.privileged_context import attach_teacher_prompts
from sdar_gym.rollout.trajectory import Episode

PARAMS = SamplingParams(24)
TASK = TASKS[0]
WALK = GAMES[TASK].walkthrough
SKILL = "Advice that helped before"


class Recording(PlannedEngine):
    """Gives planned answers, and keeps the requests."""

    def __init__(self, tokenizer: Any, answers: Any):
        super().__init__(tokenizer, answers)
        self.requests: list[GenerationRequest] = []
        self.closed: list[str] = []

    def generate(self, requests: Any, params: Any) -> Any:
        self.requests += requests
        return super().generate(requests, params)

    def close_session(self, session: str) -> None:
        self.closed.append(session)


def play(
    tokenizer: Any, settings: RolloutSettings, *, skilled: bool = False, answers: Any = None, max_steps: int = 20
) -> tuple[Episode, Recording]:
    """The walkthrough of one game, with the teacher's prompts."""
    engine = Recording(tokenizer, answers or [f"<think>so</think><action>{action}</action>" for action in WALK])
    collector = build_collector(
        engine,
        tokenizer,
        ENV,
        ENV_CONFIG | {"max_steps": max_steps},
        settings,
        build_retriever(ENV, SkillSettings(strategy="oracle_type", k=1, include_general=False)),
        teacher_prompts=True,
        skills_in_prompt=skilled,
    )
    (episode,) = collector.collect([EpisodeRequest(TASK, 0, 0, 0)], PARAMS)
    collector.close()
    return episode, engine


def talk(**settings: Any) -> RolloutSettings:
    return RolloutSettings(context="conversation", max_response_tokens=24, **settings)


def test_an_episode_is_one_sequence_of_what_was_read_and_sampled(tokenizer: Any) -> None:
    episode, engine = play(tokenizer, talk())
    (sequence,) = episode.sequences
    assert (episode.ended, episode.context_forks, len(episode.turns)) == ("won", 0, len(WALK))
    assert [span.turn for span in sequence.spans] == list(range(len(WALK)))
    for span, turn, request in zip(sequence.spans, episode.turns, engine.requests, strict=True):
        assert sequence.ids[span.start : span.stop] == turn.response_ids
        assert list(request.prompt_ids) == sequence.ids[: span.start] and turn.prompt_tokens == span.start
        assert request.session == episode.episode_id
    assert engine.closed == [episode.episode_id]
    text = tokenizer.decode(sequence.ids)
    assert text.count("<|im_start|>assistant\n") == len(WALK) and text.endswith("<|im_end|>")
    assert all(turn.observation in text for turn in episode.turns)
    assert text.count("You are an agent in a household") == 1


def test_the_ids_are_those_of_the_rendered_conversation(tokenizer: Any) -> None:
    episode, _ = play(tokenizer, talk())
    chat, text = ChatFormat(tokenizer), tokenizer.decode(episode.sequences[0].ids)
    messages = []
    for turn in text.split("<|im_start|>")[1:]:
        role, _, content = turn.partition("\n")
        messages.append({"role": role, "content": content.removesuffix("\n").removesuffix("<|im_end|>")})
    assert chat.prompt_ids(messages[:-1]) == episode.sequences[0].ids[: episode.sequences[0].spans[-1].start]


def test_the_teacher_reads_the_skills_once_and_the_same_tokens_after_them(tokenizer: Any) -> None:
    episode, _ = play(tokenizer, talk())
    (sequence,) = episode.sequences
    assert sequence.teacher_ids is not None
    first = sequence.spans[0].start
    assert sequence.teacher_ids[-(len(sequence.ids) - first) :] == sequence.ids[first:]
    teacher = tokenizer.decode(sequence.teacher_ids)
    assert teacher.count(SKILL) == 1 and SKILL not in tokenizer.decode(sequence.ids)
    assert teacher.index(SKILL) < teacher.index("<|im_start|>assistant")


def test_a_policy_that_acts_with_skills_reads_them_in_the_first_message(tokenizer: Any) -> None:
    episode, _ = play(tokenizer, talk(), skilled=True)
    assert tokenizer.decode(episode.sequences[0].ids).count(SKILL) == 1


def test_one_turn_episodes_are_the_same_in_both_contexts(tokenizer: Any) -> None:
    window, _ = play(tokenizer, RolloutSettings(max_response_tokens=24), max_steps=1)
    conversation, _ = play(tokenizer, talk(), max_steps=1)
    assert window.sequences == conversation.sequences and window.turns == conversation.turns


@pytest.mark.parametrize("shown", ["each", "first", "changes", "never"])
def test_action_lists_stand_where_they_were_asked_for(shown: str, tokenizer: Any) -> None:
    episode, _ = play(tokenizer, talk(show_actions=shown))
    text = tokenizer.decode(episode.sequences[0].ids)
    lists = {"each": len(WALK), "first": 1, "changes": 1, "never": 0}[shown]
    assert text.count("Actions you can take now: [") == lists
    changes = [
        action_changes(before.admissible_actions, now.admissible_actions)
        for before, now in zip(episode.turns, episode.turns[1:], strict=False)
    ]
    assert any(changes) and all((change in text) == (shown == "changes") for change in changes if change)
    # What is shown is no part of what is known: advantages and skills still read the whole list.
    assert all(turn.admissible_actions for turn in episode.turns)


def test_changes_name_what_came_and_what_went() -> None:
    assert action_changes(("look", "go to desk 1"), ("look", "open desk 1")) == (
        "New actions: ['open desk 1']\nNo longer possible: ['go to desk 1']"
    )
    assert action_changes(("look",), ("look",)) == "" and action_list(()) == ""


def test_an_episode_ends_where_another_turn_has_no_room(tokenizer: Any) -> None:
    whole, _ = play(tokenizer, talk())
    room = whole.sequences[0].spans[2].start + 24
    episode, engine = play(tokenizer, talk(max_context_tokens=room - 1))
    assert (episode.ended, len(episode.turns), episode.won) == ("context_full", 2, False)
    assert episode.sequences[0].ids == whole.sequences[0].ids[: whole.sequences[0].spans[1].stop]
    assert engine.closed == [episode.episode_id]
    assert episode_metrics([episode, whole])["context_full"] == 1
    longer, _ = play(tokenizer, talk(max_context_tokens=room))
    assert len(longer.turns) == 3


def test_a_conversation_too_long_for_the_teacher_has_none(tokenizer: Any) -> None:
    whole, _ = play(tokenizer, talk())
    student, teacher = (len(ids or ()) for ids in (whole.sequences[0].ids, whole.sequences[0].teacher_ids))
    first = whole.sequences[0].spans[0].start
    limits = {
        "max_prompt_tokens": first + teacher - student - 1,
        "max_teacher_prompt_tokens": first + teacher - student,
    }
    assert teacher - student > PARAMS.max_tokens + 1
    episode, _ = play(tokenizer, talk(max_context_tokens=student + PARAMS.max_tokens, **limits))
    assert episode.sequences[0].teacher_ids is None and all(turn.teacher_too_long for turn in episode.turns)
    assert episode.sequences[0].ids == whole.sequences[0].ids


def test_long_observations_are_cut_before_they_are_encoded(tokenizer: Any) -> None:
    episode, _ = play(tokenizer, talk(max_observation_tokens=5, show_actions="never"))
    text = tokenizer.decode(episode.sequences[0].ids)
    assert " [cut]" in text and not any(turn.observation in text for turn in episode.turns)
    parts = text.split("<|im_start|>user\n")[2:]
    assert all(len(tokenizer.encode(part.split(" [cut]")[0])) <= 6 for part in parts)


@pytest.fixture
def rewriting(tokenizer: Any) -> Any:
    """A tokenizer whose template drops past thinking, as Qwen3's does."""
    own = copy.deepcopy(tokenizer)
    own.chat_template = THINKING
    return own


def test_a_template_that_rewrites_the_past_forks_the_sequence(rewriting: Any) -> None:
    episode, _ = play(rewriting, talk())
    assert len(episode.sequences) == len(WALK) and episode.context_forks == len(WALK) - 1
    assert episode_metrics([episode])["context_forks"] == len(WALK) - 1
    last = rewriting.decode(episode.sequences[-1].ids)
    assert last.count("<think>so</think>") == 1 and all(f"<action>{action}</action>" in last for action in WALK)
    for number, sequence in enumerate(episode.sequences):
        assert [span.turn for span in sequence.spans] == [number]
        assert rewriting.decode(sequence.teacher_ids).count(SKILL) == 1
    kept, _ = play(rewriting, talk(rewritten_history="keep"))
    assert len(kept.sequences) == 1 and kept.context_forks == 0
    assert rewriting.decode(kept.sequences[0].ids).count("<think>so</think>") == len(WALK)


@pytest.mark.parametrize("forks", [False, True])
@pytest.mark.parametrize("view", ["solution", "sibling", "hindsight", "feedback"])
def test_views_of_finished_episodes_are_written_into_a_conversation(
    view: str, forks: bool, tokenizer: Any, rewriting: Any
) -> None:
    from sdar_gym.rollout.privileged_context import SolutionBook

    own, settings = (rewriting if forks else tokenizer), talk()
    episode, other = play(own, settings)[0], play(own, settings)[0]
    context = build_context(own, ENV, ENV_CONFIG, settings)
    book = SolutionBook(ENV, ENV_CONFIG) if view == "solution" else None
    report = attach_teacher_prompts([episode, other], view, context, env_name=ENV, solutions=book, control="blank")
    assert report.with_context == 2 * len(WALK) and report.coverage == 1.0
    for sequence in episode.sequences:
        for ids, starts in (
            (sequence.teacher_ids, sequence.teacher_starts),
            (sequence.control_ids, sequence.control_starts),
        ):
            assert ids is not None and starts is not None
            for span, start in zip(sequence.spans, starts, strict=True):
                assert ids[start : start + span.stop - span.start] == sequence.ids[span.start : span.stop]
        shown = own.decode(sequence.teacher_ids).count("The environment's reply to the next action")
        assert shown == (len(sequence.spans) if view == "feedback" else 0)
        assert "(not shown)" in own.decode(sequence.control_ids)
