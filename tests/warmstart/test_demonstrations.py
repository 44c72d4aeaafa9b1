"""Demonstrations: the tokens that a rollout of the expert would have, and the tasks they are of."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from warm_configs import ALFWORLD, ENVIRONMENTS, warm_config  # pyright: ignore[reportMissingImports]

from sdar_gym.configs.sections import SkillSettings
from sdar_gym.envs.prompting import TEMPLATES, ParsedAction, WindowTemplate
from sdar_gym.envs.registry import entry_of, load_object
from sdar_gym.rollout.build import build_collector, build_retriever
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.engines.base import Engine, GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.warmstart.demonstrations import DemonstrationError, demonstrate


class Replay(Engine):
    """Gives the responses of an episode, one after the other."""

    def __init__(self, tokenizer: Any, episode: Episode):
        self.stop_ids = (tokenizer.eos_token_id,)
        self._left = [turn.response_ids for turn in episode.turns]

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[GenerationResult]:
        (_,) = requests
        ids = self._left.pop(0)
        return [GenerationResult(ids, [0.0] * len(ids), "stop", 0)]

    def update_weights(self, state_dict: Any, version: int) -> None:
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("think", ["true", "false"])
@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_they_are_the_tokens_of_a_rollout_that_answers_as_the_expert_does(
    policy_folder: Path, tokenizer: Any, env_id: str, think: str
) -> None:
    changes = ("rollout.system=You act.", "rollout.few_shot=1", "rollout.max_prompt_tokens=20000")
    run = warm_config(policy_folder, env_id, "warmstart.episodes=2", f"rollout.think={think}", *changes)
    shown = demonstrate(run, tokenizer)
    assert len(shown.train) == 2 and len(shown.held_out) == 1
    for episode in shown.train:
        collector = build_collector(
            Replay(tokenizer, episode),
            tokenizer,
            run.env,
            run.env_config,
            run.rollout,
            build_retriever(run.env, SkillSettings(strategy="none")),
            teacher_prompts=False,
            skills_in_prompt=False,
        )
        (played,) = collector.collect([EpisodeRequest(episode.task_id, 0, 0, 0)], SamplingParams(250, 1.0))
        collector.close()
        assert played.won and played.ended == "won"
        assert played.sequences == episode.sequences
        assert all(turn.valid_form for turn in played.turns)
        assert [turn.reward for turn in played.turns] == [turn.reward for turn in episode.turns]


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
    start = "<|im_start|>assistant\\n"
    assert start in opens.chat_template
    opens.chat_template = opens.chat_template.replace(start, f"{start}<think>\\n")
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
    assert cut.cut == 1
    ended = [episode for episode in cut.train if episode.ended == "prompt_too_long"]
    assert all(turn.prompt_tokens <= longest[-2] for episode in ended for turn in episode.turns)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("rollout.max_response_tokens=3",), r"has \d+ tokens, and rollout.max_response_tokens=3 would cut it off"),
        (("rollout.max_prompt_tokens=20",), r"episodes end early .* rollout.max_prompt_tokens=20. Raise it"),
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
    monkeypatch.setattr("sdar_gym.warmstart.demonstrations.expert_of", lambda env_id: Loses())
    with pytest.raises(DemonstrationError, match=r"left 21 training task\(s\) unsolved"):
        demonstrate(warm_config(policy_folder, ALFWORLD, "env_config.max_steps=2"), tokenizer)


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
    monkeypatch.setattr("sdar_gym.warmstart.demonstrations.expert_of", lambda env_id: None)
    with pytest.raises(DemonstrationError, match="sdar/ALFWorld-v0 has no expert"):
        demonstrate(run, tokenizer)
