"""Demonstrations: the tokens that a rollout of the expert would have, and the tasks they are of."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from thinking_template import THINKING  # pyright: ignore[reportMissingImports]
from warm_configs import (  # pyright: ignore[reportMissingImports]
    ALFWORLD,
    ENVIRONMENTS,
    TALK,
    smollm2,
    warm_config,
)

from sdar_gym.configs.schema import RunConfig
from sdar_gym.configs.sections import SkillSettings
from sdar_gym.envs.policies import expert_of
from sdar_gym.envs.prompting import TEMPLATES, EpisodeView, ParsedAction, PastTurn, WindowTemplate, prompt_template
from sdar_gym.envs.registry import entry_of, load_object
from sdar_gym.policy.load import load_tokenizer
from sdar_gym.rollout.build import build_collector, build_retriever
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.engines.base import Engine, GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.warmstart.demonstrations import demonstrate
from sdar_gym.warmstart.demonstrator import DemonstrationError, Demonstrator

CONTEXTS = {"window": (), "conversation": (*TALK, "rollout.max_context_tokens=40000")}


class Answers(Engine):
    """Gives texts, one after the other, and keeps the prompts."""

    def __init__(self, tokenizer: Any, texts: Sequence[str]):
        self.stop_ids = (tokenizer.eos_token_id,)
        self.prompts: list[list[int]] = []
        self._left = [[*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id] for text in texts]

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[GenerationResult]:
        (request,) = requests
        self.prompts.append(list(request.prompt_ids))
        ids = self._left.pop(0)
        return [GenerationResult(ids, [0.0] * len(ids), "stop", 0)]

    def update_weights(self, state_dict: Any, version: int) -> None:
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        return {}


def views_and_actions(run: RunConfig, task_id: str) -> list[tuple[EpisodeView, str]]:
    """What the expert sees and does, played by hand."""
    env, expert = make_env(run.env, run.env_config), expert_of(run.env)
    assert expert is not None
    observation, info = env.reset(options={"task_id": task_id})
    expert.begin(env, observation, info)
    found: list[tuple[EpisodeView, str]] = []
    over = False
    while not over:
        history = tuple(PastTurn(view.observation, action) for view, action in found)
        action = expert.act(observation, info)
        found.append((EpisodeView(info["goal"], history, observation, tuple(info["admissible_actions"])), action))
        observation, _, terminated, truncated, info = env.step(action)
        over = terminated or truncated
    env.close()
    return found


def prompts_and_responses(episode: Episode) -> list[tuple[list[int], list[int]]]:
    """What is read before each response, and the response."""
    return [
        (sequence.ids[: span.start], sequence.ids[span.start : span.stop])
        for sequence in episode.sequences
        for span in sequence.spans
    ]


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("think", ["true", "false"])
@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_they_are_the_tokens_of_a_rollout_that_answers_as_the_expert_does(
    policy_folder: Path, tokenizer: Any, env_id: str, think: str, context: str
) -> None:
    changes = ("rollout.system=You act.", "rollout.few_shot=1", "rollout.max_prompt_tokens=20000")
    run = warm_config(
        policy_folder, env_id, "warmstart.episodes=2", f"rollout.think={think}", *changes, *CONTEXTS[context]
    )
    shown = demonstrate(run, tokenizer)
    assert len(shown.train) == 2 and len(shown.held_out) == 1 and not shown.cut
    template: Any = prompt_template(run.env, run.rollout.prompt)
    for episode in shown.train:
        texts = [
            template.respond(action, think=run.rollout.think) for _, action in views_and_actions(run, episode.task_id)
        ]
        engine = Answers(tokenizer, texts)
        collector = build_collector(
            engine,
            tokenizer,
            run.env,
            run.env_config,
            run.rollout,
            build_retriever(run.env, SkillSettings(strategy="none")),
            teacher_prompts=False,
            skills_in_prompt=False,
        )
        (played,) = collector.collect([EpisodeRequest(episode.task_id, 0, 0, run.seed)], SamplingParams(250, 1.0))
        collector.close()
        assert played.won and played.ended == "won" and all(turn.valid_form for turn in played.turns)
        assert played.sequences == episode.sequences and played.turns == episode.turns
        assert [prompt for prompt, _ in prompts_and_responses(episode)] == engine.prompts
        assert len(episode.sequences) == (1 if context == "conversation" else len(texts))


@pytest.mark.parametrize("model", ["tiny", "smollm2"])
@pytest.mark.parametrize("context", CONTEXTS)
def test_they_are_the_chat_template_s_rendering_of_prompts_and_actions(
    policy_folder: Path, context: str, model: str
) -> None:
    """By hand: the messages of the environment's prompt, rendered and encoded whole, without the code of rollouts."""
    folder = policy_folder if model == "tiny" else smollm2()
    run = warm_config(folder, ALFWORLD, "warmstart.episodes=1", "warmstart.held_out=0", *CONTEXTS[context])
    reader = load_tokenizer(str(folder))
    (episode,) = demonstrate(run, reader).train
    template: Any = prompt_template(run.env, run.rollout.prompt)
    messages: list[dict[str, str]] = []
    turns = views_and_actions(run, episode.task_id)
    for (view, action), (prompt, response) in zip(turns, prompts_and_responses(episode), strict=True):
        if context == "window":
            messages = template.messages(view, window=run.rollout.window, think=False)
        elif not messages:
            messages = template.messages(replace(view, admissible_actions=()), window=0, think=False)
        else:
            messages.append({"role": "user", "content": view.observation})
        text = reader.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert prompt == reader.encode(text, add_special_tokens=False)
        answer = f"<action>{action}</action>"
        assert response == reader.encode(f"{answer}<|im_end|>", add_special_tokens=False)
        messages.append({"role": "assistant", "content": answer})


def test_a_conversation_whose_past_is_rewritten_has_a_sequence_for_every_rendering(
    policy_folder: Path, tokenizer: Any
) -> None:
    rewriting = copy.deepcopy(tokenizer)
    rewriting.chat_template = THINKING
    changes = ("warmstart.episodes=1", "rollout.think=true", *TALK)
    (forked,) = demonstrate(warm_config(policy_folder, ALFWORLD, *changes), rewriting).train
    assert len(forked.sequences) == len(forked.turns) == forked.context_forks + 1
    assert "</think>" not in rewriting.decode(forked.sequences[-1].prompt_ids).split("user")[-2]
    (kept,) = demonstrate(
        warm_config(policy_folder, ALFWORLD, *changes, "rollout.rewritten_history=keep"), rewriting
    ).train
    assert len(kept.sequences) == 1 and len(kept.sequences[0].spans) == len(kept.turns)


def test_a_policy_that_acts_with_skills_is_shown_them(policy_folder: Path, tokenizer: Any) -> None:
    run = warm_config(policy_folder, ALFWORLD, "warmstart.episodes=1", "method=skill_grpo")
    (episode,) = demonstrate(run, tokenizer).train
    assert all("Advice that helped before" in tokenizer.decode(one.prompt_ids) for one in episode.sequences)
    (episode,) = demonstrate(replace(run, method="grpo"), tokenizer).train
    assert not any("Advice that helped before" in tokenizer.decode(one.prompt_ids) for one in episode.sequences)


def test_only_the_training_split_is_played_and_held_out_tasks_share_no_group(
    policy_folder: Path, tokenizer: Any
) -> None:
    run = warm_config(policy_folder, "sdar/WebShop-v0", "warmstart.episodes=12", "warmstart.held_out=6")
    shown = demonstrate(run, tokenizer)
    env = make_env(run.env, run.env_config)
    training = set(env.task_ids())
    train = {episode.task_id for episode in shown.train}
    held_out = {episode.task_id for episode in shown.held_out}
    assert (len(train), len(held_out)) == (12, 6)
    assert train | held_out <= training
    assert not {env.task_group(one) for one in train} & {env.task_group(one) for one in held_out}
    env.close()
    assert demonstrate(run, tokenizer).digest() == shown.digest()
    assert demonstrate(replace(run, seed=1), tokenizer).digest() != shown.digest()


def test_a_thought_that_the_chat_template_opens_is_continued(policy_folder: Path, tokenizer: Any) -> None:
    opens = copy.deepcopy(tokenizer)
    start = "<|im_start|>assistant\n"
    assert start in opens.chat_template
    opens.chat_template = opens.chat_template.replace(start, f"{start}<think>\n")
    for think, expected in (("true", "The task is not done yet."), ("false", "</think>\n\n<action>")):
        run = warm_config(policy_folder, ALFWORLD, "warmstart.episodes=1", f"rollout.think={think}")
        (episode,) = demonstrate(run, opens).train
        assert all(turn.response.startswith(expected) for turn in episode.turns)
        assert opens.decode(episode.sequences[0].prompt_ids).endswith("<think>\n")


def test_an_episode_ends_where_a_prompt_is_too_long(policy_folder: Path, tokenizer: Any) -> None:
    changes = ("warmstart.episodes=8", "warmstart.held_out=0", "rollout.window=0")
    shown = demonstrate(warm_config(policy_folder, ALFWORLD, *changes), tokenizer)
    longest = sorted(max(turn.prompt_tokens for turn in episode.turns) for episode in shown.train)
    limit = f"rollout.max_prompt_tokens={longest[-2]}"
    cut = demonstrate(warm_config(policy_folder, ALFWORLD, *changes, limit), tokenizer)
    assert dict(cut.cut) == {"prompt_too_long": 1}
    ended = [episode for episode in cut.train if episode.ended == "prompt_too_long"]
    assert all(turn.prompt_tokens <= longest[-2] for episode in ended for turn in episode.turns)


def test_a_conversation_ends_where_its_context_is_full(policy_folder: Path, tokenizer: Any) -> None:
    changes = ("warmstart.episodes=8", "warmstart.held_out=0", *TALK)
    shown = demonstrate(warm_config(policy_folder, ALFWORLD, *changes), tokenizer)
    starts = sorted(episode.sequences[0].starts[-1] for episode in shown.train)
    # The last turn of the longest conversation has no room.
    limit = f"rollout.max_context_tokens={starts[-2] + 250}"
    cut = demonstrate(warm_config(policy_folder, ALFWORLD, *changes, limit), tokenizer)
    assert dict(cut.cut) == {"context_full": 1} and len(cut.train) == 8
    (ended,) = [episode for episode in cut.train if episode.ended == "context_full"]
    assert ended.turns and not ended.won


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("rollout.max_response_tokens=3",), r"has \d+ tokens, and rollout.max_response_tokens=3 would cut it off"),
        (
            ("rollout.max_prompt_tokens=20",),
            r"\d+ of the expert's \d+ episodes .* rollout.max_prompt_tokens=20. Raise it",
        ),
        ((*TALK, "rollout.max_context_tokens=620"), r"no room for another turn. Raise rollout.max_context_tokens"),
    ],
)
def test_what_a_rollout_could_not_have_is_refused(
    policy_folder: Path, tokenizer: Any, changes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DemonstrationError, match=message):
        demonstrate(warm_config(policy_folder, ALFWORLD, *changes), tokenizer)


class Loses:
    """An expert that looks around."""

    def begin(self, env: Any, observation: str, info: Any) -> None:
        pass

    def act(self, observation: str, info: Any) -> str:
        return "look"


def test_an_expert_that_solves_nothing_is_given_up(
    policy_folder: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdar_gym.warmstart.demonstrator.expert_of", lambda env_id: Loses())
    with pytest.raises(DemonstrationError, match=r"left 21 training task\(s\) unsolved"):
        demonstrate(warm_config(policy_folder, ALFWORLD, "env_config.max_steps=2"), tokenizer)


def test_an_environment_that_does_not_repeat_a_task_is_refused(
    policy_folder: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = warm_config(policy_folder, ALFWORLD)
    env = make_env(run.env, run.env_config)
    demonstrator, task_id = Demonstrator(run, tokenizer, env), next(iter(env.task_ids()))
    kept, resets = env.reset, iter(range(100))

    def moody(**settings: Any) -> Any:
        observation, info = kept(**settings)
        return f"{observation} It is {next(resets)} o'clock.", info

    monkeypatch.setattr(env, "reset", moody)
    with pytest.raises(DemonstrationError, match=r"not the same twice.*turn 1 observes .* on task and seed alone"):
        demonstrator.episode(task_id)
    env.close()


class Upper(WindowTemplate):
    """Reads another action than it writes."""

    def parse(self, response: str, *, think: bool) -> ParsedAction:
        parsed = super().parse(response, think=think)
        return replace(parsed, action=parsed.action.upper())


class Silent:
    """Cannot write a response."""

    messages, parse = TEMPLATES["window"].messages, TEMPLATES["window"].parse


def test_a_template_that_cannot_write_the_action_and_an_environment_without_expert_are_refused(
    policy_folder: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = warm_config(policy_folder, ALFWORLD)
    templates = load_object(entry_of(ALFWORLD).prompt, "templates")
    with monkeypatch.context() as patch:
        patch.setitem(templates, "window", Upper("You act."))
        with pytest.raises(DemonstrationError, match="cannot express the expert's action"):
            demonstrate(run, tokenizer)
        patch.setitem(templates, "window", Silent())
        with pytest.raises(DemonstrationError, match=r"'window' of sdar/ALFWorld-v0 .* no method respond"):
            demonstrate(run, tokenizer)
    monkeypatch.setattr("sdar_gym.warmstart.demonstrator.expert_of", lambda env_id: None)
    with pytest.raises(DemonstrationError, match="sdar/ALFWorld-v0 has no expert"):
        demonstrate(run, tokenizer)
