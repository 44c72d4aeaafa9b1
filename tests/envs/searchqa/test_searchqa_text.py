"""Parsing of actions, observations, answer scores and prompts."""

from __future__ import annotations

import json
import random

import pytest

from sdar_gym.envs.prompting import EpisodeView, PastTurn, prompt_template, skill_context
from sdar_gym.envs.searchqa.reward import exact_match, f1, mean_over_sources, normalize
from sdar_gym.envs.searchqa.text import information, read_call, write_call
from sdar_gym.skills.index.analysis import terms
from sdar_gym.text import well_formed


@pytest.mark.parametrize(
    ("text", "action", "valid"),
    [
        ("<search>who</search>", "<search>who</search>", True),
        ("<think>hm</think> <search> who \n is </search>", "<search>who \n is</search>", True),
        ("<answer>Paris</answer>", "<answer>Paris</answer>", True),
        ("no tags", "", False),
        ("", "", False),
        ("<search>never closed", "", False),
        ("</search>", "", False),
        ("<search></search>", "<search></search>", False),
        ("<search>a</search> and more text", "<search>a</search>", True),
        # Both kinds: the search counts, but the action is invalid, in any order.
        ("<answer>x</answer><search>a</search>", "<search>a</search>", False),
        ("<search>a</search><answer>x</answer>", "<search>a</search>", False),
        # Several of one kind: the first counts.
        ("<search>a</search><search>b</search>", "<search>a</search>", False),
        ("<answer>x</answer><answer>y</answer>", "<answer>x</answer>", False),
        ("<search><search>a</search></search>", "<search><search>a</search>", False),
        # An answer counts only before the first `</search>`.
        ("</search><answer>x</answer>", "", False),
        ("<answer>x</answer></search>", "<answer>x</answer>", True),
        ("<SEARCH>a</SEARCH>", "", False),
    ],
)
def test_actions_are_read_as_the_reference_reads_them(text: str, action: str, valid: bool) -> None:
    parsed = prompt_template("sdar/SearchQA-v0", "window").parse(text, think=True)
    assert (parsed.action, parsed.valid) == (action, valid)
    assert read_call(parsed.action).text == read_call(text).text


PARTS = (
    *("<search>", "</search>", "<answer>", "</answer>", "<", ">", "/", "search", "answer", "</", "<<", ">>"),
    *("York", "the", " ", "\n", "é", "🙂", "\ud83d", "1943", "'s", "<b>", "<information>"),
)


def drawn(rng: random.Random) -> str:
    return "".join(rng.choice(PARTS) for _ in range(rng.randrange(9)))


def test_what_is_read_of_a_text_is_read_again_of_its_action() -> None:
    rng = random.Random(1)
    kinds = set()
    for _ in range(20_000):
        call = read_call(drawn(rng))
        again = read_call(call.action)
        assert (again.kind, again.text) == (call.kind, call.text)
        call.action.encode()
        kinds.add((call.kind, call.valid))
    assert len(kinds) == 5


def test_an_action_for_any_text_is_read_back_and_means_the_same() -> None:
    rng = random.Random(2)
    with_tags = 0
    for _ in range(20_000):
        text = drawn(rng)
        if not text.strip(" \n<>"):
            continue
        answer, search = read_call(write_call("answer", text)), read_call(write_call("search", text))
        assert (answer.kind, answer.valid, search.kind, search.valid) == ("answer", True, "search", True)
        assert exact_match(answer.text, (well_formed(text),)) or not normalize(text)
        assert terms(search.text) == terms(well_formed(text))
        if not any(tag in text for tag in PARTS[:4]):
            assert answer.text == search.text == well_formed(text).strip()
        else:
            with_tags += 1
    assert with_tags > 5000


def test_actions_for_nested_tags_take_linear_time() -> None:
    # Removing tags must not create new ones.
    nested = "<" * 300_000 + "search" + ">" * 300_000
    assert read_call(write_call("search", nested)).text == "search"
    assert read_call(write_call("answer", "<search>" * 100_000)).text == "search" * 100_000


def test_passages_are_shown_as_numbered_text_in_json() -> None:
    shown = information(['"A"\nfirst', '"B"\nsecond "quoted"'])
    assert shown.startswith('<information>{"result": "Doc 1: \\"A\\"\\nfirst\\nDoc 2: ')
    content = shown.removeprefix("<information>").removesuffix("</information>")
    assert json.loads(content) == {"result": 'Doc 1: "A"\nfirst\nDoc 2: "B"\nsecond "quoted"'}


@pytest.mark.parametrize(
    ("said", "golden", "equal"),
    [
        ("The Beatles!", "beatles", True),
        ("U.S.A.", "usa", True),
        ("an  apple\na day", "Apple day", True),
        ("1,000", "1000", True),
        ("Paris, France", "Paris", False),
        ("", "Paris", False),
        ("the", "", False),
        ("A", "A", True),
        ("the", "A", False),
        ("twenty-one", "twenty one", False),
        ("“the” cat", "“ ” cat", True),
    ],
)
def test_exact_match_normalizes_as_squad_does(said: str, golden: str, equal: bool) -> None:
    assert exact_match(said, (golden,)) is equal


def test_any_golden_answer_counts() -> None:
    golden = ("14 December 1972 UTC", "December 1972")
    assert exact_match("december, 1972", golden)
    assert not exact_match("1972", golden)
    assert not exact_match("1972", ())


@pytest.mark.parametrize(
    ("said", "golden", "value"),
    [
        ("Barack Obama", ("Barack Hussein Obama",), 0.8),  # precision 1, recall 2/3
        ("the cat sat", ("cat",), 2 / 3),
        ("cat cat", ("cat",), 2 / 3),  # words count with repetition
        ("no idea", ("no",), 0.0),
        ("no", ("no",), 1.0),
        ("dog", ("cat", "dog"), 1.0),
        ("", ("cat",), 0.0),
        ("cat", (), 0.0),
    ],
)
def test_f1_is_the_overlap_of_words(said: str, golden: tuple[str, ...], value: float) -> None:
    assert f1(said, golden) == pytest.approx(value)


def test_normalize_leaves_inner_articles_of_words() -> None:
    assert normalize("A theatre in Athens, an hour away") == "theatre in athens hour away"


def test_the_mean_over_sources_counts_each_set_once() -> None:
    assert mean_over_sources({"bamboogle": 0.5, "nq": 0.25}) == pytest.approx(0.375)
    with pytest.raises(ValueError, match="no sources"):
        mean_over_sources({})


VIEW = EpisodeView(
    goal="Who?",
    history=(
        PastTurn("Who?", "<search>a</search>"),
        PastTurn("<information>A</information>", "<search>b</search>"),
    ),
    observation="<information>B</information>",
    admissible_actions=(),
)


def prompt(view: EpisodeView, window: int, skills: str = "", think: bool = True) -> str:
    template = prompt_template("sdar/SearchQA-v0", "window")
    (message,) = template.messages(view, window=window, privileged=skill_context(skills), think=think)
    assert message["role"] == "user"
    return message["content"]


def test_the_prompt_shows_each_search_with_what_it_found() -> None:
    text = prompt(VIEW, 4)
    assert "Step 1: <search>a</search> <information>A</information>" in text
    assert "Step 2: <search>b</search> <information>B</information>" in text
    assert text.count("Who?") == 1
    assert "Step 1" not in prompt(VIEW, 1)
    assert "<information>B</information>" in prompt(VIEW, 1)
    # The last result is shown even without past turns.
    assert "<information>B</information>" in prompt(VIEW, 0)
    assert "<search>b</search> <information>" not in prompt(VIEW, 0)


def test_only_the_teacher_sees_skills_and_thinking_is_asked_for_only_where_wanted() -> None:
    first = EpisodeView("Who?", (), "Who?", ())
    assert "Look it up." in prompt(first, 4, "Look it up.")
    assert "Advice" not in prompt(first, 4)
    assert "<think>" in prompt(first, 4)
    assert "<think>" not in prompt(first, 4, think=False)
    assert "step(s)" not in prompt(first, 4)
