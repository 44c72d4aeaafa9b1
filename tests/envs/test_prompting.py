from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sdar_gym.envs.prompting import (
    EpisodeView,
    ParsedAction,
    PastTurn,
    WindowTemplate,
    history_lines,
    instruction,
    parse_action,
    prompt_template,
    skill_context,
)

TURNS = tuple(PastTurn(f"room {n}", f"go {n}") for n in range(1, 6))
VIEW = EpisodeView("put a hot egg in fridge.", TURNS, "You see an egg 1.", ("help", "take egg 1", "look"))
SKILL = "Heat it in the microwave first."


@pytest.mark.parametrize(
    ("answer", "action", "valid"),
    [
        ("<action>go to fridge 1</action>", "go to fridge 1", True),
        ("well, <action>\n look \t</action> I think", "look", True),
        ("<action>one</action><action>two</action>", "one", True),
        ("<action>take <b>egg</b></action>", "take <b>egg</b>", True),
        ("<action>Geh zur 冰箱 ß 🧪</action>", "Geh zur 冰箱 ß 🧪", True),
        ("<action>two\nlines</action>", "two\nlines", True),
        ("<action></action>", "", True),
        ("<action>outer <action>inner</action> rest</action>", "outer <action>inner", True),
        ("  go to fridge 1 ", "go to fridge 1", False),
        ("<action>never closed", "<action>never closed", False),
        ("</action>look<action>", "</action>look<action>", False),
        ("<Action>look</Action>", "<Action>look</Action>", False),
        ("", "", False),
    ],
)
def test_the_first_action_in_tags_counts(answer: str, action: str, valid: bool) -> None:
    assert parse_action(answer, think=False) == ParsedAction(action, valid, tagged=valid)


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        ("<think>an egg</think><action>look</action>", True),
        ("<think></think><action>look</action>", True),
        ("<think>two\nlines</think>\n<action>look</action>", True),
        ("<action>look</action>", False),
        ("<think>never closed <action>look</action>", False),
    ],
)
def test_reasoning_is_required_where_it_is_asked_for(answer: str, valid: bool) -> None:
    assert parse_action(answer, think=True) == ParsedAction("look", valid)


def test_an_answer_of_thought_alone_has_no_action() -> None:
    assert not parse_action("<think>look</think>", think=True).valid


def test_the_asked_form_is_the_form_that_is_parsed() -> None:
    assert "<think> </think>" in instruction(True)
    assert "<think>" not in instruction(False)
    assert all("<action> </action>" in instruction(think) for think in (True, False))


def test_history_is_numbered_from_the_start_of_the_episode() -> None:
    assert history_lines(TURNS, 2) == (
        "[Observation 4: 'room 4', Action 4: 'go 4']\n[Observation 5: 'room 5', Action 5: 'go 5']"
    )
    assert history_lines(TURNS[:1], 9) == "[Observation 1: 'room 1', Action 1: 'go 1']"
    assert history_lines(TURNS, 0) == ""


@pytest.mark.parametrize(
    "template",
    [WindowTemplate("You are an agent."), prompt_template("sdar/ALFWorld-v0", "window")],
    ids=["generic", "own"],
)
def test_the_window_prompt_says_what_there_is_to_know(template: WindowTemplate) -> None:
    (message,) = template.messages(VIEW, window=2, think=True)
    text = message["content"]
    assert message["role"] == "user"
    assert "Your task: put a hot egg in fridge." in text
    assert "You have taken 5 step(s). The last 2:" in text
    assert "Observation 4" in text
    assert "Observation 3" not in text
    assert "Step 6. You see: You see an egg 1." in text
    assert "['take egg 1'\n'look']" in text
    assert "'help'" not in text
    assert text.endswith(instruction(True))


@pytest.mark.parametrize("name", ["window", "compact"])
def test_only_the_teacher_reads_skills(name: str) -> None:
    template = prompt_template("sdar/ALFWorld-v0", name)
    view = EpisodeView(VIEW.goal, (), "you see a fridge 1. Your task is to: …", ())
    (student,) = template.messages(view, window=2, think=False)
    (teacher,) = template.messages(view, window=2, privileged=skill_context(SKILL), think=False)
    assert SKILL not in student["content"]
    assert SKILL in teacher["content"]
    # One inserted passage is all the difference.
    assert len(teacher["content"]) - len(student["content"]) < len(SKILL) + 40
    start, _, rest = teacher["content"].partition(SKILL)
    assert student["content"].endswith(rest)
    assert start.startswith(student["content"][: -len(rest)].rstrip())


def test_what_is_empty_is_left_out() -> None:
    template = WindowTemplate("You are an agent.")
    (message,) = template.messages(EpisodeView("win.", (), "Hello.", ()), window=2, think=False)
    assert message["content"] == (
        f"You are an agent.\n\nYour task: win.\n\nStep 1. You see: Hello.\n\n{instruction(False)}"
    )
    (message,) = template.messages(VIEW, window=0, think=False)
    assert "Observation" not in message["content"]


def test_an_unknown_template_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no prompt template 'long'; it has compact, window"):
        prompt_template("sdar/ALFWorld-v0", "long")
    with pytest.raises(ValueError, match="no prompt template 5"):
        prompt_template("sdar/ALFWorld-v0", 5)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("tags", ["<action>", "<think>", "<think><action>", "<action><", "<think></action>"])
def test_an_answer_of_tags_alone_is_read_in_linear_time(tags: str) -> None:
    # A pattern that begins anew at each tag would take hours for these.
    text = tags * 500_000
    assert parse_action(text, think=True) == ParsedAction(text, False, tagged=False)
    assert parse_action(f"{text}<action>look</action>", think=True).valid is False


OWN = """
from sdar_gym.envs.prompting import WindowTemplate

mine = WindowTemplate("You are mine.")
Kind = WindowTemplate
number = 7
table = {"mine": mine}


class Half:
    def messages(self, view, *, window, skills, think):
        return []


half = Half()
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own, and some that cannot be imported."""
    (tmp_path / "own_prompts.py").write_text(OWN)
    (tmp_path / "own_broken.py").write_text("def oops(:\n")
    (tmp_path / "own_exits.py").write_text("raise SystemExit('no licence')\n")
    (tmp_path / "own_needs.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("own_prompts", "own_broken", "own_exits", "own_needs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "own_prompts"


def test_a_template_of_one_s_own_is_named_by_its_module(own_module: str) -> None:
    template = prompt_template("sdar/ALFWorld-v0", f"{own_module}:mine")
    assert template is prompt_template("sdar/WebShop-v0", f"{own_module}:mine")
    (message,) = template.messages(VIEW, window=2, think=False)
    assert message["content"].startswith("You are mine.")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module:mine", "there is no module 'no_such_module'.*PYTHONPATH"),
        ("own_prompts.inner:mine", "there is no module 'own_prompts.inner'"),
        ("own_prompts:mime", "the module 'own_prompts' has no 'mime'. Did you mean 'mine'?"),
        ("own_prompts:Kind", "'own_prompts:Kind' is the class WindowTemplate; name an object of it"),
        ("own_prompts:number", r"'own_prompts:number' has no method messages\(\) and is no PromptTemplate: 7"),
        ("own_prompts:table", r"has no method messages\(\)"),
        ("own_prompts:half", r"has no method parse\(\)"),
        ("own_broken:mine", "importing 'own_broken' failed: SyntaxError"),
        ("own_exits:mine", r"importing 'own_exits' failed: SystemExit\('no licence'\)"),
        ("own_needs:mine", "importing 'own_needs' failed: ModuleNotFoundError.*no_such_module_at_all"),
        ("own_prompts:", "has no prompt template 'own_prompts:'.*module:NAME"),
        (":mine", "has no prompt template ':mine'"),
        ("a:b:c", "has no prompt template 'a:b:c'"),
    ],
)
def test_what_is_no_template_of_one_s_own_is_named(own_module: str, name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        prompt_template("sdar/ALFWorld-v0", name)
    assert "\n" not in str(refused.value)
