"""The teacher's views of finished episodes: which prompts they change, in which words, and which they leave alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.envs.alfworld.generator import generate_game
from sdar_gym.envs.prompting import EpisodeView, WindowTemplate
from sdar_gym.policy.load import load_model
from sdar_gym.rollout.build import build_collector, build_context
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.context import PromptContext, PromptLimits, episode_view
from sdar_gym.rollout.engines import Engine, GenerationResult, SamplingParams
from sdar_gym.rollout.engines.transformers_engine import engine_of
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.privileged_context import SolutionBook, ViewReport, attach_teacher_prompts
from sdar_gym.rollout.trajectory import Episode, TurnRecord
from sdar_gym.rollout.window_context import WindowContext
from sdar_gym.skills.growth.abstraction import steps_of
from sdar_gym.skills.strategies.controls import NoRetriever

ALFWORLD, WEBSHOP, SEARCH = "sdar/ALFWorld-v0", "sdar/WebShop-v0", "sdar/SearchQA-v0"
CONFIGS: dict[str, dict[str, Any]] = {ALFWORLD: {"games": "generated", "scene": "small"}, WEBSHOP: {}, SEARCH: {}}
TASK = "small/train/000000"
PARAMS = SamplingParams(24)
HEADINGS = (
    "The expert's solution of this task, step by step",
    "A successful attempt at this task, with the result of each step",
    "The environment's reply to the next action",
    "Summary of this attempt, in hindsight",
)


class PlannedEngine(Engine):
    """Gives the answers of a list, one a turn."""

    def __init__(self, tokenizer: Any, answers: Sequence[str]):
        self._tokenizer = tokenizer
        self.stop_ids = (tokenizer.eos_token_id,)
        self._answers = list(answers)

    def generate(self, requests: Sequence[Any], params: SamplingParams) -> list[GenerationResult]:
        text = self._answers.pop(0)
        ids = [*self._tokenizer.encode(text, add_special_tokens=False), self._tokenizer.eos_token_id]
        return [GenerationResult(ids, [-0.5] * len(ids), "stop", 1) for _ in requests]

    def update_weights(self, state_dict: Any, version: int) -> None:
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        return {}


def context_of(tokenizer: Any, env_id: str, settings: RolloutSettings) -> PromptContext:
    return build_context(tokenizer, env_id, CONFIGS[env_id], settings)


def collect(
    tokenizer: Any, env_id: str, engine: Any, requests: Sequence[EpisodeRequest], settings: RolloutSettings, **env: Any
) -> list[Episode]:
    collector = build_collector(
        engine,
        tokenizer,
        env_id,
        CONFIGS[env_id] | env,
        settings,
        NoRetriever(),
        teacher_prompts=False,
        skills_in_prompt=False,
    )
    try:
        return collector.collect(requests, PARAMS)
    finally:
        collector.close()


def answers_of(env_id: str, actions: Sequence[str]) -> list[str]:
    tagged = actions if env_id == SEARCH else [f"<action>{action}</action>" for action in actions]
    return [f"<think>easy</think>{action}" for action in tagged]


def play(
    tokenizer: Any, actions: Sequence[str], member: int = 0, *, settings: RolloutSettings | None = None, **env: Any
) -> Episode:
    """One ALFWorld episode of planned actions, up to a turn limit if they do not win."""
    engine = PlannedEngine(tokenizer, answers_of(ALFWORLD, actions))
    request = EpisodeRequest(TASK, 0, member, 0)
    limit = {"max_steps": len(actions)} | env
    return collect(tokenizer, ALFWORLD, engine, [request], settings or RolloutSettings(), **limit)[0]


def text_of(tokenizer: Any, ids: list[int] | None) -> str:
    """The privileged text of a prompt of the window template."""
    prompt = tokenizer.decode(ids)
    (heading,) = (heading for heading in HEADINGS if heading in prompt)
    assert "Advice that helped before" not in prompt
    return prompt.split(f"{heading}:\n")[1].split("\n\n")[0]


def prompts(episode: Episode, whose: str = "teacher") -> list[list[int] | None]:
    """The teacher's or control's prompt of each turn; None where there is none."""
    found: list[list[int] | None] = []
    for number, turn in enumerate(episode.turns):
        ids, length = getattr(episode.sequence_of(number), f"{whose}_ids"), len(turn.response_ids)
        assert ids is None or ids[-length:] == turn.response_ids, "all read the same response"
        found.append(None if ids is None else ids[:-length])
    return found


def texts_of(tokenizer: Any, episode: Episode, whose: str = "teacher") -> list[str]:
    """The privileged text of each turn's prompt; every turn has to have one."""
    return [text_of(tokenizer, prompt) for prompt in prompts(episode, whose)]


def attach(tokenizer: Any, episodes: Sequence[Episode], view: str, **more: Any) -> ViewReport:
    context = context_of(tokenizer, ALFWORLD, RolloutSettings())
    return attach_teacher_prompts(episodes, view, context, env_name=ALFWORLD, **more)


WALK = generate_game(TASK).walkthrough
NONSENSE = ["fly to the moon", "look"]


def with_detour(actions: Sequence[str]) -> list[str]:
    return [*NONSENSE, *actions]


@pytest.mark.parametrize("env_id", [ALFWORLD, WEBSHOP, SEARCH])
def test_an_expert_s_episode_gives_back_the_prompts_it_was_played_with(tokenizer: Any, env_id: str) -> None:
    book = SolutionBook(env_id, CONFIGS[env_id])
    settings = RolloutSettings(max_prompt_tokens=20_000)
    context = context_of(tokenizer, env_id, settings)
    tasks = make_env(env_id, CONFIGS[env_id]).task_ids()[:3]
    for task_id in tasks:
        actions = book.actions(task_id)
        assert actions
        engine = PlannedEngine(tokenizer, answers_of(env_id, actions))
        (episode,) = collect(tokenizer, env_id, engine, [EpisodeRequest(task_id, 0, 0, 5)], settings)
        assert episode.won
        assert [turn.action for turn in episode.turns] == list(actions)
        before = deepcopy(episode)
        for number in range(len(episode.turns)):
            assert context.sequence_prompt(episode, number) == episode.sequence_of(number).prompt_ids
        report = attach_teacher_prompts([episode], "solution", context, env_name=env_id, solutions=book)
        assert report == ViewReport(len(actions), 0, 0)
        assert episode.turns == before.turns
        for number, (prompt, text) in enumerate(zip(prompts(episode), texts_of(tokenizer, episode), strict=True)):
            first = " ".join(actions[0].split())[:150]
            assert text.startswith(first)
            student = tokenizer.decode(prompt).replace(f"{HEADINGS[0]}:\n{text}\n\n", "")
            sequence, old = episode.sequence_of(number), before.sequence_of(number)
            assert student == tokenizer.decode(sequence.prompt_ids)
            assert (sequence.ids, sequence.spans) == (old.ids, old.spans)
    book.close()


@pytest.mark.parametrize("prompt", ["window", "compact"])
def test_a_sampling_policy_s_episodes_give_back_their_prompts(tokenizer: Any, policy_folder: Path, prompt: str) -> None:
    engine = engine_of(load_model(str(policy_folder)), tokenizer)
    # The limit drops past turns from the later prompts of the window template.
    settings = RolloutSettings(prompt=prompt, think=False, window=4, max_prompt_tokens=600)
    requests = [EpisodeRequest(f"small/train/{number:06d}", number, 0, 1) for number in range(3)]
    episodes = collect(tokenizer, ALFWORLD, engine, requests, settings, max_steps=4)
    context = context_of(tokenizer, ALFWORLD, settings)
    assert sum(len(episode.turns) for episode in episodes) == 12
    for episode in episodes:
        for number in range(len(episode.turns)):
            assert context.sequence_prompt(episode, number) == episode.sequence_of(number).prompt_ids
    report = attach_teacher_prompts(episodes, "hindsight", context, env_name=ALFWORLD, control="blank")
    assert report.with_context + report.too_long == 12
    assert report.with_context > 0
    for episode in episodes:
        for teacher, control in zip(prompts(episode), prompts(episode, "control"), strict=True):
            assert (teacher is None) == (control is None)
            if teacher is not None:
                assert ("hindsight: " if prompt == "compact" else f"{HEADINGS[3]}:\n") in tokenizer.decode(teacher)
                assert "Refused: (not shown)." in tokenizer.decode(control)


def test_a_solution_is_played_once_and_a_task_that_the_expert_fails_has_none() -> None:
    book = SolutionBook(ALFWORLD, CONFIGS[ALFWORLD])
    assert book.actions(TASK) == tuple(WALK)
    book.close()
    book._env = None  # pyright: ignore[reportAttributeAccessIssue]
    assert book.actions(TASK) == tuple(WALK)
    short = SolutionBook(ALFWORLD, CONFIGS[ALFWORLD] | {"max_steps": len(WALK) - 1})
    assert short.actions(TASK) is None


def test_a_task_without_a_solution_leaves_its_turns_without_a_prompt(tokenizer: Any) -> None:
    short = SolutionBook(ALFWORLD, CONFIGS[ALFWORLD] | {"max_steps": 1})
    episode = play(tokenizer, WALK)
    sequence = episode.sequence_of(0)
    sequence.teacher_ids = sequence.behind([1, 2, 3])
    assert attach(tokenizer, [episode], "solution", solutions=short) == ViewReport(0, len(WALK), 0)
    assert prompts(episode) == [None] * len(WALK)


@pytest.mark.usefixtures("clean_registry")
def test_an_environment_without_an_expert_is_refused_when_the_book_is_opened() -> None:
    from sdar_gym.envs import register

    register("sdar-test/House-v0", "sdar_gym.envs.alfworld.env:ALFWorldEnv")
    with pytest.raises(ValueError, match=r"House-v0 has no expert.*expert='module:Class', or choose the view sibling"):
        SolutionBook("sdar-test/House-v0", {})


def test_the_shortest_other_success_is_the_sibling(tokenizer: Any) -> None:
    long, short, lost = (
        play(tokenizer, actions, member)
        for member, actions in enumerate([with_detour(WALK), WALK, ["look", "inventory", "look"]])
    )
    assert [episode.won for episode in (long, short, lost)] == [True, True, False]
    stranger = deepcopy(short)
    stranger.group_id = 7
    report = attach(tokenizer, [long, short, lost, stranger], "sibling")
    assert report == ViewReport(len(WALK) + 2 + len(WALK) + 3, len(WALK), 0)
    told = texts_of(tokenizer, long)[0]
    assert told == texts_of(tokenizer, lost)[2]
    second = " ".join(short.turns[1].observation.split())
    assert told.startswith(f"{WALK[0]} -> {second[:40]}")
    assert told.endswith(f"{WALK[-1]} -> the task was solved (score 1.00).")
    # Its own success is not shown to the shortest one: it gets the longer sibling, without the refused step.
    other = texts_of(tokenizer, short)[0]
    assert other.startswith("look -> ")
    assert "fly to the moon" not in other
    assert prompts(stranger) == [None] * len(WALK)
    assert attach(tokenizer, [short, lost], "sibling") == ViewReport(3, len(WALK), 0)


def test_feedback_tells_what_followed_each_step_and_the_control_tells_nothing(tokenizer: Any) -> None:
    episode = play(tokenizer, with_detour(WALK))
    total = len(episode.turns)
    assert attach(tokenizer, [episode], "feedback", control="blank") == ViewReport(total, 0, 0)
    texts = texts_of(tokenizer, episode)
    assert texts[0] == "Understood: no. Then: Nothing happens."
    for number in range(1, total - 1):
        reply = " ".join(episode.turns[number + 1].observation.split())
        assert texts[number] == f"Understood: yes. Then: {reply}"
    assert texts[-1] == "Understood: yes. Then: the task was solved (score 1.00)"
    controls = set(texts_of(tokenizer, episode, "control"))
    assert controls == {"Understood: (not shown). Then: (not shown)"}
    for teacher, control, text in zip(prompts(episode), prompts(episode, "control"), texts, strict=True):
        rest = tokenizer.decode(teacher).replace(text, "")
        assert rest == tokenizer.decode(control).replace(*controls, "")
    attach(tokenizer, [episode], "feedback")
    assert prompts(episode, "control") == [None] * total


def test_feedback_tells_how_a_lost_episode_ended_and_that_the_form_was_wrong(tokenizer: Any) -> None:
    engine = PlannedEngine(tokenizer, ["look", "go to the moon"])
    request = EpisodeRequest(TASK, 0, 0, 0)
    (episode,) = collect(tokenizer, ALFWORLD, engine, [request], RolloutSettings(), max_steps=2)
    attach(tokenizer, [episode], "feedback")
    first, last = texts_of(tokenizer, episode)
    assert "Understood: yes, but the response did not match the required format." in first
    assert "Understood: no, and the response did not match the required format." in last
    assert last.endswith("Then: the turns ran out before the task was solved (score 0.00)")


def test_hindsight_abstracts_what_was_accepted_and_refused(tokenizer: Any) -> None:
    episode = play(tokenizer, ["look", "look", "fly to the moon", "fly to the moon", "inventory"])
    attach(tokenizer, [episode], "hindsight", control="blank")
    texts = set(texts_of(tokenizer, episode))
    assert texts == {
        "Accepted: look; inventory. Refused: fly to the moon. "
        "In the end the turns ran out before the task was solved (score 0.00)."
    }
    controls = set(texts_of(tokenizer, episode, "control"))
    assert controls == {"Accepted: (not shown). Refused: (not shown). In the end (not shown)."}
    won = play(tokenizer, WALK)
    attach(tokenizer, [won], "hindsight")
    told = texts_of(tokenizer, won)[0]
    assert "Refused: nothing. In the end the task was solved (score 1.00)." in told
    steps = told.split("Accepted: ")[1].split(". Refused:")[0].split("; ")
    assert steps == steps_of(won.to_json())
    # Numbers are those of this room; the lesson has kinds of things instead.
    assert not set(steps) & set(WALK)


def test_a_teacher_s_prompt_over_the_limit_is_left_out_and_counted(tokenizer: Any) -> None:
    longest = max(turn.prompt_tokens for turn in play(tokenizer, WALK, settings=RolloutSettings(window=0)).turns)
    settings = RolloutSettings(window=0, max_prompt_tokens=longest, max_teacher_prompt_tokens=longest)
    episode = play(tokenizer, WALK, settings=settings)
    context = context_of(tokenizer, ALFWORLD, settings)
    report = attach_teacher_prompts([episode], "feedback", context, env_name=ALFWORLD, control="blank")
    assert report.too_long > 0
    assert report.without_context == 0
    assert report.with_context + report.too_long == len(WALK)
    assert report.coverage == pytest.approx(report.with_context / len(WALK))
    made = prompts(episode)
    assert made.count(None) == report.too_long
    assert all(prompt is None or len(prompt) <= longest for prompt in made)
    assert [turn.teacher_too_long for turn in episode.turns] == [prompt is None for prompt in made]


def test_long_texts_are_cut_and_put_on_one_line(tokenizer: Any) -> None:
    def turn(observation: str, action: str, **more: Any) -> TurnRecord:
        return TurnRecord(observation, "", action, True, True, 0.0, [7], [-1.0], 0, **more)

    page = "A page.\n\nwith   lines " + "and words " * 500
    context = WindowContext(tokenizer, WindowTemplate("You act."), PromptLimits(10_000, 10_000), window=0, think=False)
    members = []
    for member in range(2):
        turns = [turn("start", "say " + "much " * 200), turn(page, "")]
        episode = Episode(f"0/{member}", 0, "t", "t", "train", "Talk.", won=True, score=1.0, ended="won")
        for number, row in enumerate(turns):
            history = () if number == 0 else episode_view(Episode("", 0, "", "", "", "", turns), 1).history
            episode.add_turn(row, context.first_prompt(EpisodeView("Talk.", history, row.observation, ())).ids)
        members.append(episode)
    attach_teacher_prompts(members, "sibling", context, env_name="talk")
    told = texts_of(tokenizer, members[0])[0]
    action, result = told.split("; ")[0].split(" -> ")
    assert (len(action), action[-3:]) == (200, "...")
    assert len(result) <= 80
    assert result.startswith("A page. with lines and words")
    assert told.endswith("; (nothing) -> the task was solved (score 1.00).")
    attach_teacher_prompts(members, "feedback", context, env_name="talk")
    answer = texts_of(tokenizer, members[0])[0].split("Then: ")[1]
    assert 1190 < len(answer) <= 1200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"view": "skills"}, "'skills' is not made of finished episodes; those are solution, sibling"),
        ({"view": "oracle"}, "'oracle' is not made of"),
        ({"control": "noise"}, "Unknown control 'noise'; choose blank or None"),
        ({"view": "solution"}, "needs solutions: pass a SolutionBook"),
    ],
)
def test_senseless_requests_are_refused(tokenizer: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attach(tokenizer, [], **({"view": "feedback"} | change))


def test_another_context_than_the_rollouts_is_noticed(tokenizer: Any) -> None:
    episode = play(tokenizer, WALK)
    others: list[Callable[[], RolloutSettings]] = [
        lambda: RolloutSettings(window=1),
        lambda: RolloutSettings(think=False),
        lambda: RolloutSettings(prompt="compact"),
        lambda: RolloutSettings(max_prompt_tokens=20),
    ]
    for settings in others:
        context = context_of(tokenizer, ALFWORLD, settings())
        with pytest.raises(ValueError, match=r"Episode 0/0 of sdar/ALFWorld-v0 was played with another prompt"):
            attach_teacher_prompts([episode], "feedback", context, env_name=ALFWORLD)


def test_no_episodes_give_an_empty_report(tokenizer: Any) -> None:
    report = attach(tokenizer, [], "feedback")
    assert (report, report.coverage) == (ViewReport(0, 0, 0), 0.0)
