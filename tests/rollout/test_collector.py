"""The collector: with a scripted engine where the answers matter, with a real one where the draws do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.configs.sections import RolloutSettings, SkillSettings
from sdar_gym.envs import Task, TextEnv, Turn
from sdar_gym.envs.alfworld.generator import generate_game
from sdar_gym.envs.prompting import WindowTemplate
from sdar_gym.policy.load import load_model, pad_id
from sdar_gym.rollout.build import build_collector, build_retriever
from sdar_gym.rollout.collector import Collector, EpisodeRequest
from sdar_gym.rollout.context import PromptLimits
from sdar_gym.rollout.engines import Engine, GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.engines.transformers_engine import engine_of
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.time_limits import TimeLimits
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.rollout.window_context import WindowContext
from sdar_gym.skills import SkillQuery
from sdar_gym.skills.strategies.controls import NoRetriever

ENV = "sdar/ALFWorld-v0"
ENV_CONFIG = {"games": "generated", "scene": "small"}
# One of each task type; their walkthroughs differ in length.
TASKS = tuple(f"small/train/{number:06d}" for number in range(6))
GAMES = {task_id: generate_game(task_id) for task_id in TASKS}
PARAMS = SamplingParams(24)


class ScriptedEngine(Engine):
    """Answers a prompt with what a function says to its text."""

    def __init__(self, tokenizer: Any, answer: Callable[[str], str], finish_reason: str = "stop"):
        self._tokenizer = tokenizer
        self.stop_ids = (tokenizer.eos_token_id,)
        self._answer = answer
        self._finish_reason = finish_reason
        self.batches: list[list[GenerationRequest]] = []
        self.results: list[GenerationResult] = []

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[GenerationResult]:
        assert params is PARAMS
        self.batches.append(list(requests))
        results = []
        for request in requests:
            text = self._answer(self._tokenizer.decode(request.prompt_ids))
            ids = [*self._tokenizer.encode(text, add_special_tokens=False), self._tokenizer.eos_token_id]
            results.append(GenerationResult(ids, [-0.5] * len(ids), self._finish_reason, 11))
        self.results += results
        return results

    def update_weights(self, state_dict: Any, version: int) -> None:
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        return {}


def expert(prompt: str) -> str:
    """The next command of the walkthrough, read off the task and the step's number."""
    game = next(game for game in GAMES.values() if f"Your task: {game.task}\n" in prompt)
    step = re.search(r"\nStep (\d+)\. You see", prompt)
    assert step is not None
    return f"<think>easy</think><action>{game.walkthrough[int(step.group(1)) - 1]}</action>"


def collector_of(
    engine: Any,
    tokenizer: Any,
    *,
    teacher: bool = True,
    skilled: bool = False,
    strategy: str = "oracle_type",
    **env: Any,
) -> Collector:
    return build_collector(
        engine,
        tokenizer,
        ENV,
        ENV_CONFIG | env,
        RolloutSettings(),
        build_retriever(ENV, SkillSettings(strategy=strategy, k=1, include_general=False)),
        teacher_prompts=teacher,
        skills_in_prompt=skilled,
    )


def teacher_prompts(episode: Episode) -> list[list[int] | None]:
    """The teacher's prompt of each turn; None where it has none."""
    prompts: list[list[int] | None] = []
    for number, turn in enumerate(episode.turns):
        ids, length = episode.sequence_of(number).teacher_ids, len(turn.response_ids)
        assert ids is None or ids[-length:] == turn.response_ids, "both read the same response"
        prompts.append(None if ids is None else ids[:-length])
    return prompts


def one_each(seed: int = 0) -> list[EpisodeRequest]:
    return [EpisodeRequest(task_id, number, 0, seed) for number, task_id in enumerate(TASKS)]


def test_the_walkthrough_wins_through_text_and_ids(tokenizer: Any) -> None:
    engine = ScriptedEngine(tokenizer, expert)
    episodes = collector_of(engine, tokenizer).collect(one_each(), PARAMS)
    for task_id, number, episode in zip(TASKS, range(6), episodes, strict=True):
        game = GAMES[task_id]
        assert (episode.task_id, episode.goal, episode.task_type) == (task_id, game.task, game.task_type)
        assert (episode.episode_id, episode.group_id, episode.split) == (f"{number}/0", number, "train")
        assert (episode.ended, episode.won, episode.score, episode.total_reward) == ("won", True, 1.0, 1.0)
        assert [turn.action for turn in episode.turns] == list(game.walkthrough)
        assert [turn.reward for turn in episode.turns] == [0.0] * (len(game.walkthrough) - 1) + [1.0]


def test_a_turn_keeps_what_was_shown_sampled_and_done(tokenizer: Any) -> None:
    engine = ScriptedEngine(tokenizer, expert)
    (episode,) = collector_of(engine, tokenizer).collect(one_each()[:1], PARAMS)
    for number, turn in enumerate(episode.turns):
        (request,), result = engine.batches[number], engine.results[number]
        sequence = episode.sequence_of(number)
        assert sequence.prompt_ids == request.prompt_ids
        assert sequence.ids == [*request.prompt_ids, *result.token_ids]
        assert turn.prompt_tokens == len(request.prompt_ids)
        assert turn.response_ids is result.token_ids
        assert turn.old_logp is result.logprobs
        assert turn.weight_version == 11
        assert turn.response == f"<think>easy</think><action>{turn.action}</action>"
        assert turn.valid_form
        assert turn.valid_action
        prompt = tokenizer.decode(sequence.prompt_ids)
        assert f"Step {number + 1}. You see: {turn.observation}" in prompt
        if number:
            before = episode.turns[number - 1]
            assert f"Observation {number}: {before.observation!r}, Action {number}: {before.action!r}" in prompt
    first = make_env(ENV, ENV_CONFIG).reset(options={"task_id": TASKS[0]})[0]
    assert episode.turns[0].observation == first


def test_the_teacher_reads_the_skill_and_the_student_never_does(tokenizer: Any) -> None:
    engine = ScriptedEngine(tokenizer, expert)
    episodes = collector_of(engine, tokenizer).collect(one_each(), PARAMS)
    retriever = build_retriever(ENV, SkillSettings(k=1, include_general=False))
    for episode in episodes:
        found = retriever.retrieve(SkillQuery("alfworld", episode.task_type, episode.goal))
        assert found.text
        assert (episode.skills, episode.skills_specific) == (found.ids, True)
        for number, prompt in enumerate(teacher_prompts(episode)):
            student, teacher = tokenizer.decode(episode.sequence_of(number).prompt_ids), tokenizer.decode(prompt)
            assert found.text not in student
            assert teacher.count(found.text) == 1
            assert teacher.replace(f"Advice that helped before:\n{found.text}\n\n", "") == student


def test_the_acting_policy_reads_the_skill_only_where_that_is_measured(tokenizer: Any) -> None:
    engine = ScriptedEngine(tokenizer, expert)
    (episode,) = collector_of(engine, tokenizer, teacher=False, skilled=True).collect(one_each()[:1], PARAMS)
    prompts = [episode.sequence_of(number).prompt_ids for number in range(len(episode.turns))]
    assert prompts and all("Advice that helped before:" in tokenizer.decode(prompt) for prompt in prompts)
    assert all(prompt is None for prompt in teacher_prompts(episode))


def test_without_skills_there_is_no_teacher_prompt(tokenizer: Any) -> None:
    engine = ScriptedEngine(tokenizer, expert)
    (episode,) = collector_of(engine, tokenizer, strategy="none").collect(one_each()[:1], PARAMS)
    assert (episode.skills, episode.skills_specific) == ((), None)
    assert episode.turns and all(prompt is None for prompt in teacher_prompts(episode))


def test_finished_episodes_leave_the_batch_and_the_order_is_kept(tokenizer: Any) -> None:
    engine = ScriptedEngine(tokenizer, expert)
    requests = one_each()[::-1]
    episodes = collector_of(engine, tokenizer).collect(requests, PARAMS)
    lengths = [len(GAMES[request.task_id].walkthrough) for request in requests]
    assert len(set(lengths)) > 2
    assert [episode.task_id for episode in episodes] == [request.task_id for request in requests]
    assert [len(batch) for batch in engine.batches] == [
        sum(length > turn for length in lengths) for turn in range(max(lengths))
    ]


def test_every_draw_has_a_seed_of_its_own(tokenizer: Any) -> None:
    def seeds(seed: int) -> list[int]:
        engine = ScriptedEngine(tokenizer, lambda prompt: "<action>look</action>")
        requests = [EpisodeRequest(TASKS[0], group, member, seed) for group in range(3) for member in range(3)]
        collector_of(engine, tokenizer, max_steps=3).collect(requests, PARAMS)
        return [request.seed for batch in engine.batches for request in batch]

    assert len(set(seeds(0))) == 27
    assert seeds(0) == seeds(0)
    assert not set(seeds(0)) & set(seeds(1))


def test_nonsense_costs_turns_until_they_are_used_up(tokenizer: Any) -> None:
    engine = ScriptedEngine(tokenizer, lambda prompt: "go to the moon <|im_end|>")
    (episode,) = collector_of(engine, tokenizer, max_steps=3).collect(one_each()[:1], PARAMS)
    assert (episode.ended, episode.won, episode.score) == ("truncated", False, 0.0)
    assert len(episode.turns) == 3
    for turn in episode.turns:
        assert (turn.action, turn.response) == ("go to the moon", "go to the moon ")
        assert not turn.valid_form
        assert not turn.valid_action


class Dice(TextEnv):
    """Begins at a random number; a very long story follows the answer `tell`; `lose` ends it."""

    made = closed = 0

    def __init__(self) -> None:
        super().__init__(4)
        type(self).made += 1

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        return ("roll",)

    def task_type(self, task_id: str) -> str:
        return task_id

    def _load_task(self, task_id: str) -> Task:
        return Task("roll", "roll", "train", "roll.")

    def _begin(self, task: Task) -> Turn:
        return self._show(f"You rolled {self.np_random.integers(10**9)}.")

    def _act(self, action: str) -> Turn:
        return self._show("a story " * 200 if action == "tell" else f"You {action}.", ended=action == "lose")

    def _show(self, text: str, *, ended: bool = False) -> Turn:
        return Turn(text, 0.0, ended, True, (), 0.25, False)

    def close(self) -> None:
        type(self).closed += 1


def dice_collector(engine: Any, tokenizer: Any, *, limit: int = 250) -> Collector:
    template = WindowTemplate("You are an agent.")
    context = WindowContext(tokenizer, template, PromptLimits(limit, limit), window=2, think=False)
    return Collector(engine, tokenizer, Dice, context, NoRetriever(), "dice", teacher_prompts=True)


def roll(group: int, member: int, seed: int = 0) -> EpisodeRequest:
    return EpisodeRequest("roll", group, member, seed)


def test_a_group_begins_from_one_state_and_other_groups_from_others(tokenizer: Any) -> None:
    collector = dice_collector(ScriptedEngine(tokenizer, lambda prompt: "<action>wait</action>"), tokenizer)

    def starts(requests: list[EpisodeRequest]) -> list[str]:
        return [episode.turns[0].observation for episode in collector.collect(requests, PARAMS)]

    requests = [roll(group, member) for group in range(4) for member in range(3)]
    rolled = starts(requests)
    assert [len(set(rolled[at : at + 3])) for at in range(0, 12, 3)] == [1] * 4
    assert len(set(rolled)) == 4
    assert starts(requests[::-1]) == rolled[::-1]
    assert not set(starts([roll(group, 0, seed=1) for group in range(4)])) & set(rolled)


def test_a_prompt_that_gets_too_long_ends_its_episode_and_no_other(tokenizer: Any) -> None:
    def answer(prompt: str) -> str:
        return "<action>tell</action>" if talks in prompt and "Step 2" in prompt else "<action>wait</action>"

    talks = "nothing yet"
    engine = ScriptedEngine(tokenizer, answer)
    collector = dice_collector(engine, tokenizer)
    quiet = collector.collect([roll(0, 0), roll(1, 0)], PARAMS)
    assert [episode.ended for episode in quiet] == ["truncated", "truncated"]
    talks = quiet[1].turns[0].observation
    first, second = collector.collect([roll(0, 0), roll(1, 0)], PARAMS)
    assert (second.ended, second.won, second.score, len(second.turns)) == ("prompt_too_long", False, 0.25, 2)
    assert second.turns[-1].action == "tell"
    assert (first.ended, first.turns) == ("truncated", quiet[0].turns)


def test_a_limit_that_no_first_prompt_fits_leaves_an_episode_without_turns(tokenizer: Any) -> None:
    (episode,) = dice_collector(ScriptedEngine(tokenizer, expert), tokenizer, limit=10).collect([roll(0, 0)], PARAMS)
    assert (episode.ended, episode.turns, episode.error) == ("prompt_too_long", [], "")


@pytest.mark.parametrize(("where", "told"), [("reset", "reset: RuntimeError"), ("step", "turn 2, action 'wait': Runt")])
def test_an_environment_that_raises_costs_its_episode_alone_and_names_the_task(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, where: str, told: str
) -> None:
    whole_begin, whole_act = Dice._begin, Dice._act

    def begin(env: Dice, task: Task) -> Turn:
        turn = whole_begin(env, task)
        env.bad = turn.observation in bad  # type: ignore[attr-defined]
        if env.bad and where == "reset":  # type: ignore[attr-defined]
            raise RuntimeError("no such room\nsecond line")
        return turn

    def act(env: Dice, action: str) -> Turn:
        if env.bad and env._turn == 1:  # type: ignore[attr-defined]
            raise RuntimeError("no such room\nsecond line")
        return whole_act(env, action)

    bad: set[str] = set()
    monkeypatch.setattr(Dice, "_begin", begin)
    monkeypatch.setattr(Dice, "_act", act)
    collector = dice_collector(ScriptedEngine(tokenizer, lambda prompt: "<action>wait</action>"), tokenizer)
    bad.add(collector.collect([roll(0, 0), roll(1, 0)], PARAMS)[1].turns[0].observation)
    good, failed = collector.collect([roll(0, 0), roll(1, 0)], PARAMS)
    assert (good.ended, good.error) == ("truncated", "")
    assert failed.ended == "error" and failed.to_json()["error"] == failed.error
    assert failed.error.startswith(f"Task 'roll', {told}") and failed.error.endswith("no such room")


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"reward": float("nan")}, "the reward is nan, which is no finite number"),
        ({"reward": float("inf")}, "the reward is inf, which is no finite number"),
        ({"reward": "1"}, "the reward is '1', which is no finite number"),
        ({"score": float("nan")}, "the score is nan, which is no finite number"),
        ({"score": None}, "the score is None, which is no finite number"),
        ({"observation": b"x"}, "the observation is b'x' of type bytes, not a text"),
        ({"observation": None}, "the observation is None of type NoneType, not a text"),
        ({"observation": "x" * 1_000_001}, "the observation has 1,000,001 characters; the limit is 1,000,000"),
        ({"observation": "\ud83d"}, "the observation has lone surrogates"),
        ({"admissible_actions": "wait"}, "the admissible actions are 'wait', not a sequence of texts"),
        ({"admissible_actions": (1,)}, "an admissible action is 1 of type int, not a text"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_environment_that_breaks_its_contract_is_named_with_task_and_turn(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, broken: dict[str, Any], told: str
) -> None:
    turn = Turn("x", 0.0, False, True, (), 0.0, False)
    turns = iter([turn, replace(turn, **broken)])
    monkeypatch.setattr(Dice, "_act", lambda env, action: next(turns))
    collector = dice_collector(ScriptedEngine(tokenizer, lambda prompt: "<action>wait</action>"), tokenizer)
    (episode,) = collector.collect([roll(0, 0)], PARAMS)
    assert episode.error.startswith(f"Task 'roll', turn 2, action 'wait': ContractError: {told}")
    assert len(episode.error) < 300


def test_a_reset_that_breaks_the_contract_names_the_task(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dice, "_begin", lambda env, task: Turn(None, 0.0, False, True, (), 0.0, False))  # type: ignore[arg-type]
    collector = dice_collector(ScriptedEngine(tokenizer, lambda prompt: "<action>wait</action>"), tokenizer)
    (episode,) = collector.collect([roll(0, 0)], PARAMS)
    assert episode.error.startswith("Task 'roll', reset: ContractError: the observation is None")


def test_an_environment_that_hangs_is_interrupted_and_the_others_play_on(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    act = Dice._act
    hung: list[Dice] = []

    def hang(env: Dice, action: str) -> Turn:
        if not hung:
            hung.append(env)
            time.sleep(60)
        return act(env, action)

    monkeypatch.setattr(Dice, "_act", hang)
    collector = dice_collector(ScriptedEngine(tokenizer, lambda prompt: "<action>wait</action>"), tokenizer)
    collector._time_limits = TimeLimits(turn=2.0)
    first, second = collector.collect([roll(0, 0), roll(1, 0)], PARAMS)
    assert first.error == (
        "Task 'roll', turn 1, action 'wait': TurnTimeoutError: it took longer than 2 s (rollout.turn_timeout_s)"
    )
    assert (second.ended, second.error) == ("truncated", "")


def test_a_response_that_was_cut_off_says_so(tokenizer: Any) -> None:
    engine = ScriptedEngine(tokenizer, lambda prompt: "<action>lose</action>", finish_reason="length")
    (episode,) = dice_collector(engine, tokenizer).collect([roll(0, 0)], PARAMS)
    assert episode.turns[0].finish_reason == "length" == episode.to_json()["turns"][0]["finish_reason"]


def test_a_teacher_whose_prompt_is_too_long_is_left_out_and_its_student_plays_on(tokenizer: Any) -> None:
    engine = ScriptedEngine(tokenizer, expert)

    def collect(limit: int, *, teacher: bool) -> Episode:
        collector = build_collector(
            engine,
            tokenizer,
            ENV,
            ENV_CONFIG,
            RolloutSettings(window=0, max_prompt_tokens=10_000, max_teacher_prompt_tokens=limit),
            build_retriever(ENV, SkillSettings(k=1, include_general=False)),
            teacher_prompts=teacher,
            skills_in_prompt=False,
        )
        return collector.collect(one_each()[:1], PARAMS)[0]

    whole = collect(10_000, teacher=True)
    prompts = [prompt or [] for prompt in teacher_prompts(whole)]
    lengths = sorted(len(prompt) for prompt in prompts)
    short = collect(lengths[-1] - 1, teacher=True)
    assert [turn.response for turn in short.turns] == [turn.response for turn in whole.turns] and short.won
    for before, after, turn in zip(prompts, teacher_prompts(short), short.turns, strict=True):
        too_long = len(before) == lengths[-1]
        assert turn.teacher_too_long == too_long
        assert after == (None if too_long else before)
    assert not any(turn.teacher_too_long for turn in collect(1, teacher=False).turns)


def test_losing_is_told_from_running_out_of_turns(tokenizer: Any) -> None:
    engine = ScriptedEngine(tokenizer, lambda prompt: "<action>lose</action>")
    (episode,) = dice_collector(engine, tokenizer).collect([roll(0, 0)], PARAMS)
    assert (episode.ended, len(episode.turns)) == ("lost", 1)


def test_environments_are_used_again_and_closed_once(tokenizer: Any) -> None:
    Dice.made = Dice.closed = 0
    collector = dice_collector(ScriptedEngine(tokenizer, lambda prompt: "<action>wait</action>"), tokenizer)
    for _ in range(3):
        collector.collect([roll(0, 0), roll(0, 1)], PARAMS)
    assert (Dice.made, Dice.closed) == (2, 0)
    collector.close()
    collector.close()
    assert Dice.closed == 2


@pytest.fixture(scope="module")
def play(policy_folder: Path, tokenizer: Any) -> Callable[[list[EpisodeRequest]], list[Episode]]:
    """Collects with a real engine and a policy of random weights."""
    engine = engine_of(load_model(str(policy_folder)), tokenizer)

    def collect(requests: list[EpisodeRequest]) -> list[Episode]:
        settings = RolloutSettings(prompt="compact", think=False)
        collector = build_collector(
            engine,
            tokenizer,
            ENV,
            ENV_CONFIG | {"max_steps": 3},
            settings,
            build_retriever(ENV, SkillSettings()),
            teacher_prompts=True,
            skills_in_prompt=False,
        )
        return collector.collect(requests, SamplingParams(6))

    return collect


def texts(episodes: Sequence[Episode]) -> list[list[str]]:
    return [[turn.response for turn in episode.turns] for episode in episodes]


def test_real_draws_follow_from_the_seed_alone(play: Callable[[list[EpisodeRequest]], list[Episode]]) -> None:
    requests = [EpisodeRequest(TASKS[group], group, member, 0) for group in (0, 1) for member in (0, 1)]
    episodes = play(requests)
    assert texts(episodes) == texts(play(requests))
    assert texts(episodes[1:3]) == texts(play(requests[1:3]))
    assert texts(episodes[:2]) != texts(episodes[1:2] * 2)
    again = [EpisodeRequest(r.task_id, r.group_id, r.member, 1) for r in requests]
    assert texts(episodes) != texts(play(again))


def test_arguments_an_environment_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no argument maxsteps; it has .*Did you mean env_config\.max_steps"):
        make_env(ENV, {"maxsteps": 3})
    with pytest.raises(ValueError, match="No environment 'sdar/Chess-v0'"):
        make_env("sdar/Chess-v0", {})
    with pytest.raises(ValueError, match="max_steps must be a whole number of at least 1, got 'many'"):
        make_env(ENV, {"max_steps": "many"})


@pytest.mark.usefixtures("clean_registry")
def test_only_text_environments_can_be_played() -> None:
    from sdar_gym.envs import register

    register("sdar-test/Pole-v0", "gymnasium.envs.classic_control:CartPoleEnv")
    with pytest.raises(ValueError, match="sdar-test/Pole-v0 is not a TextEnv: CartPoleEnv"):
        make_env("sdar-test/Pole-v0", {})
    with pytest.raises(ValueError, match=r"has no skill library: set skills\.library"):
        build_retriever("sdar-test/Pole-v0", SkillSettings())


def test_any_token_may_pad(tokenizer: Any) -> None:
    assert pad_id(tokenizer) == tokenizer.pad_token_id != tokenizer.eos_token_id
