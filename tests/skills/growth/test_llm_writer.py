"""LLM skill writer, with a scripted model: prompts, accepted responses, rejected responses."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.policy.load import load_model, load_tokenizer
from sdar_gym.rollout.chat_engine import ChatEngine
from sdar_gym.rollout.engines import GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.engines.transformers_engine import engine_of
from sdar_gym.skills import DuplicateSkillError, SkillLibrary, load_library
from sdar_gym.skills.growth.llm_writer import UnfitWriterError, Written, parse_response, refuse_unfit, write_skills

GOOD = "Title: Wash before you carry\nWhen: the goal asks for something clean.\nAdvice: Go to a sink first."


@pytest.fixture(scope="module")
def writer_tokenizer() -> Any:
    """A tokenizer with a chat template that was trained on prose: the pages of the documentation."""
    from sdar_gym.policy.tiny_tokenizer import train_tokenizer

    pages = sorted((Path(__file__).parents[3] / "docs").rglob("*.md"))
    pages += sorted((Path(__file__).parents[3] / "sdar_gym" / "skills" / "data").rglob("*.md"))
    return train_tokenizer((page.read_text(encoding="utf-8") for page in pages), vocab_size=6000)


class Script:
    """An engine with responses that are a function of the prompt's text, in real tokens."""

    def __init__(self, tokenizer: Any, response: Callable[[str], str], finish: str = "stop", room: int | None = None):
        self.tokenizer, self.response, self.finish, self.room = tokenizer, response, finish, room
        self.stop_ids = (tokenizer.eos_token_id,)
        self.prompts: list[str] = []
        self.seeds: list[int] = []
        self.lengths: list[int] = []

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[GenerationResult]:
        results = []
        for request in requests:
            prompt = self.tokenizer.decode(request.prompt_ids)
            self.prompts.append(prompt)
            self.seeds.append(request.seed)
            self.lengths.append(len(request.prompt_ids))
            ids = [*self.tokenizer.encode(self.response(prompt)), self.tokenizer.eos_token_id]
            results.append(GenerationResult(ids, [-0.5] * len(ids), self.finish, 0))
        return results

    def update_weights(self, state_dict: Any, version: int) -> None:
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        return {"max_len": self.room}


def episode(number: int, goal: str, *actions: str, won: bool = True, task_type: str = "clean") -> dict[str, Any]:
    turns = [
        {
            "observation": f"Room {number}.{step} " + "very " * 100 + "large.",
            "action": action.lstrip("!"),
            "valid_action": action[0] != "!",
        }
        for step, action in enumerate(actions)
    ]
    base = {"episode_id": f"0/{number}", "file": "train-1", "task_type": task_type, "goal": goal}
    return {**base, "won": won, "turns": turns}


PLAYED = [
    episode(0, "clean a mug", "take mug 1", "clean mug 1", "move mug 1"),
    episode(1, "clean a mug", "take mug 1", "look", "clean mug 1", "move mug 1"),
    episode(2, "clean a cup", "take cup 1", "!clean cup 1", "clean cup 1", "move cup 1"),
    episode(3, "clean a fork", "look", won=False),
    episode(4, "clean a cup", "take cup 1", "move cup 1", won=False),
    episode(5, "see a pen", "look", task_type="see"),
]


def write(
    engine: Script,
    played: Sequence[dict[str, Any]] = PLAYED,
    params: SamplingParams = SamplingParams(1024, 0.7),  # noqa: B008
    **changes: Any,
) -> Written:
    arguments: dict[str, Any] = {"model": "lab/Writer", "env": "alfworld", "origin": "run x"} | changes
    return write_skills(ChatEngine(engine, engine.tokenizer, params), played, **arguments)


def test_a_response_becomes_a_skill_with_its_origin(writer_tokenizer: Any, tmp_path: Path) -> None:
    other = "Title: Light\nWhen: something has to be seen.\nAdvice: Switch on a lamp and hold the thing beside it."
    engine = Script(writer_tokenizer, lambda prompt: GOOD if "'clean'" in prompt else other)
    written = write(engine, seed=7)
    assert written.rejected == ()
    assert [skill.task_types for skill in written.skills] == [("clean",), ("see",)]
    skill = written.skills[0]
    assert (skill.title, skill.when_to_use) == ("Wash before you carry", "the goal asks for something clean.")
    assert (skill.text, skill.env, skill.kind) == ("Go to a sink first.", "alfworld", "advice")
    assert skill.id.startswith("learned.clean.written-")
    won, lost = "won episodes train-1:0/0, train-1:0/2", "lost ones train-1:0/4, train-1:0/3"
    assert skill.origin == f"written by lab/Writer from run x, {won}; {lost}"
    assert written.skills[1].origin.endswith("won episodes train-1:0/5; lost ones none")
    assert engine.seeds == [7, 8]
    library = SkillLibrary("alfworld", SkillLibrary.builtin("alfworld").skills)
    for new in written.skills:
        library.add(new)
    library.save(tmp_path / "mine")
    assert load_library(tmp_path / "mine") == library
    again = write(Script(writer_tokenizer, lambda prompt: GOOD.replace("Wash before", "Wash it before")))
    with pytest.raises(DuplicateSkillError, match=f"says what '{skill.id}' of library 'alfworld' says already"):
        library.add(replace(again.skills[0], id="again"))


def test_it_is_shown_short_wins_and_losses_with_the_same_goal_first(writer_tokenizer: Any) -> None:
    engine = Script(writer_tokenizer, lambda prompt: GOOD)
    write(engine, PLAYED[:5], examples=1)
    (prompt,) = engine.prompts
    assert "<|im_start|>system\nYou study how an agent acts" in prompt
    assert prompt.endswith("<|im_start|>assistant\n")
    assert re.findall(r"Attempt \d \((\w+)\)\. Task: (.*)", prompt) == [
        ("success", "clean a mug"),
        ("failure", "clean a fork"),
    ]
    write(engine, PLAYED[:5])
    shown_attempts = re.findall(r"Attempt \d \((\w+)\)\. Task: (.*)", engine.prompts[-1])
    assert shown_attempts == [
        ("success", "clean a mug"),
        ("success", "clean a cup"),
        ("failure", "clean a cup"),
        ("failure", "clean a fork"),
    ]
    assert "> clean cup 1  (refused)\n" in engine.prompts[-1]
    assert "> clean cup 1\n" in engine.prompts[-1]


def test_a_long_prompt_gets_less_detail_and_then_none(writer_tokenizer: Any) -> None:
    engine = Script(writer_tokenizer, lambda prompt: GOOD)
    shown = []
    for limit in (4096, 700, 400, 330):
        written = write(engine, PLAYED[:5], max_prompt_tokens=limit)
        assert len(written.skills) == 1
        assert engine.lengths[-1] <= limit
        shown.append((engine.prompts[-1].count("Attempt"), engine.prompts[-1].count("very")))
    assert shown == sorted(shown, reverse=True)
    assert len(set(shown)) > 2
    # The model's longest sequence counts too, less the response's tokens.
    tight = Script(writer_tokenizer, lambda prompt: GOOD, room=150)
    written = write(tight, PLAYED[:5], params=SamplingParams(50))
    assert (written.skills, tight.prompts) == ((), [])
    assert [(one.task_type, one.reason) for one in written.rejected] == [
        ("clean", "no prompt about it fits in 100 tokens")
    ]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("", "not of the form"),
        ("Go to a sink first.", "not of the form"),
        ("Sure! Here it is:\n" + GOOD, "not of the form"),
        (GOOD + "\nTitle: Another", "not of the form"),
        ("Title: T\nAdvice: Go.\nWhen: always", "not of the form"),
        (GOOD.replace("When:", "**When:**"), "not of the form"),
        (GOOD.replace("Go to a sink first.", " ..."), "its Advice is empty"),
        ("Title:\nWhen: w\nAdvice: Go.", "its Title is empty"),
        ("Title: A few words.\nWhen: w\nAdvice: Go.", "its Title is a copy"),
        ("Title: T\nWhen: w\nAdvice: <what to do, in two to four sentences>", "its Advice is a copy"),
        (GOOD + " and so on" * 50, "its Advice has 155 words, and 120 are the most"),
        ("Title: T\nWhen: w\nAdvice: # Go", "begins like a heading"),
        ("<think>Title: T\nWhen: w\nAdvice: never closed", "not of the form"),
    ],
)
def test_a_response_that_breaks_the_form_is_rejected_and_counted(
    writer_tokenizer: Any, response: str, reason: str
) -> None:
    engine = Script(writer_tokenizer, lambda prompt: response if "'clean'" in prompt else GOOD)
    written = write(engine)
    assert [skill.task_types for skill in written.skills] == [("see",)]
    (rejected,) = written.rejected
    assert rejected.task_type == "clean"
    assert reason in rejected.reason
    assert rejected.response == response


def test_lines_may_wrap_and_reasoning_is_skipped() -> None:
    assert parse_response(
        "<think>hm\nTitle: no</think>\n\nTitle: T\nWhen: a b\n\n  c\nAdvice: Go.\n- Then stop.\n"
    ) == (
        "T",
        "a b c",
        "Go. - Then stop.",
    )


def test_a_response_that_was_cut_off_is_rejected(writer_tokenizer: Any) -> None:
    written = write(Script(writer_tokenizer, lambda prompt: GOOD, finish="length"), params=SamplingParams(30))
    assert written.skills == ()
    assert [one.reason for one in written.rejected] == ["it was cut off after 30 tokens"] * 2


def test_unfit_models_are_refused_before_they_are_prompted(writer_tokenizer: Any, tokenizer: Any) -> None:
    refuse_unfit("lab/Writer", writer_tokenizer)
    with pytest.raises(UnfitWriterError, match=r"'runs/x/policy' needs \d+ tokens for 15 English words"):
        refuse_unfit("runs/x/policy", tokenizer)
    with pytest.raises(UnfitWriterError, match="'builtin:tiny' needs"):
        refuse_unfit("builtin:tiny", load_tokenizer("builtin:tiny"))
    engine = Script(tokenizer, lambda prompt: GOOD)
    with pytest.raises(UnfitWriterError):
        write(engine)
    assert engine.prompts == []
    with pytest.raises(ValueError, match="from 1 to 3, got 4"):
        write(Script(writer_tokenizer, lambda prompt: GOOD), examples=4)


class NoTemplate:
    chat_template = None


def test_a_base_model_takes_no_instructions() -> None:
    with pytest.raises(UnfitWriterError, match="'lab/Base' has no chat template"):
        refuse_unfit("lab/Base", NoTemplate())


@pytest.fixture(scope="module")
def random_writer(writer_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model that writes at random, since its weights are."""
    from sdar_gym.policy.tiny_model import TinyShape, build_tiny
    from sdar_gym.warmstart.tiny import save_policy

    shape = TinyShape(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=64,
    )
    folder = tmp_path_factory.mktemp("writer")
    save_policy(build_tiny(writer_tokenizer, shape, seed=0), writer_tokenizer, folder)
    return folder


def test_nonsense_of_a_real_engine_is_rejected(random_writer: Path) -> None:
    tokenizer = load_tokenizer(str(random_writer))
    engine = engine_of(load_model(str(random_writer)), tokenizer)
    chat = ChatEngine(engine, tokenizer, SamplingParams(20))
    written = write_skills(chat, PLAYED, model="random", env="alfworld", origin="run x")
    assert written.skills == ()
    assert [rejected.task_type for rejected in written.rejected] == ["clean", "see"]
    assert all(rejected.response for rejected in written.rejected)


def test_the_command_line_refuses_what_cannot_write(
    random_writer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    from sdar_gym.cli import main

    (tmp_path / "run" / "episodes").mkdir(parents=True)
    lines = "".join(json.dumps(played) + "\n" for played in PLAYED)
    (tmp_path / "run" / "episodes" / "train-1.jsonl").write_text(lines)

    def add(source: Path, model: str) -> tuple[int, str, str]:
        arguments = ["add", "alfworld", str(source), "--output", str(tmp_path / "out"), "--with-model", model]
        monkeypatch.setattr(sys, "argv", ["sdar-gym", "skills", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    code, _, err = add(tmp_path / "run", "builtin:tiny")
    assert code == 2
    assert "The tokenizer of 'builtin:tiny' needs" in err
    code, out, err = add(tmp_path / "run", str(random_writer))
    assert code == 2
    assert out.count("was rejected: ") == 2
    assert "2 skill(s) were left out" in err
    code, _, err = add(random_writer, "builtin:tiny")
    assert code == 2
    assert "is no run folder; name one" in err
    assert not (tmp_path / "out").exists()
