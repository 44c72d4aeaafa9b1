"""Notes on a Search-QA episode and the compact prompt, which hold only what the agent was shown."""

from __future__ import annotations

import gymnasium

from sdar_gym.envs.prompting import EpisodeView, PastTurn, prompt_template, skill_context
from sdar_gym.envs.searchqa.notes import Note, note_of, notes_of, timeline
from sdar_gym.envs.searchqa.text import found_passages, information

TEMPLATE = prompt_template("sdar/SearchQA-v0", "compact")


def prompt_of(view: EpisodeView, skill: str = "") -> str:
    (message,) = TEMPLATE.messages(view, window=0, think=False, privileged=skill_context(skill))
    return message["content"]


def test_a_played_comparison_reads_as_two_short_passages_and_their_years_in_order() -> None:
    env = gymnasium.make("sdar/SearchQA-v0").unwrapped
    question, _ = env.reset(options={"task_id": "dev/comparison/000000"})
    names = [part.strip(" ?") for part in question.split(",")[1].split(" or ")]
    history, passages, seen = [], [], question
    for name in names:
        history.append(PastTurn(seen, f"<search>{name}</search>"))
        seen = env.step(f"<search>{name}</search>")[0]
        passages.append(found_passages(seen)[0])
    view = EpisodeView(question, tuple(history), seen, ())
    lines = prompt_of(view).split("\n")
    assert lines[0] == f"question: {question}"
    assert len(lines) == 4
    assert all(line.startswith("found: ") and name in line for name, line in zip(names, lines[1:3], strict=True))
    dated = timeline(notes_of(view))
    assert [year for year, _ in dated] == sorted(year for year, _ in dated)
    assert {title for _, title in dated} == set(names)
    assert lines[-1] == f"years: {', '.join(f'{year} {title}' for year, title in dated)}"
    # In short: each passage has one or two sentences with facts, and more without.
    assert all(line.count(".") <= 2 < passage.count(".") for line, passage in zip(lines[1:3], passages, strict=True))


def test_the_skill_comes_after_the_question_and_no_history_is_no_note() -> None:
    view = EpisodeView("Who wrote it?", (), "Who wrote it?", ())
    assert prompt_of(view) == "question: Who wrote it?"
    assert prompt_of(view, "Search first.") == "question: Who wrote it?\nskill: Search first."


def test_a_title_is_shown_where_the_passage_does_not_name_it_and_the_query_where_it_is_no_title() -> None:
    told = '"Kow (river)"\nThe river Kow is\nlong. It is deep. It ends in 1 lake. It has 2 bridges.'
    note = note_of("<search>Kow</search>", information([told]))
    assert note == Note("Kow", "Kow", "The river Kow is long. It ends in 1 lake.")
    view = EpisodeView("Which?", (PastTurn("Which?", "<search>Kow</search>"),), information([told]), ())
    assert prompt_of(view) == f"question: Which?\nfound: {note.text}"
    other = EpisodeView("Which?", view.history, information(['"A"\nit is short.']), ())
    assert prompt_of(other) == "question: Which?\nsearched: Kow\nfound: A: it is short."


def test_failures_and_empty_results_are_noted() -> None:
    assert note_of("nonsense", "Nothing happens.") == Note("")
    assert note_of("<search>x</search>", information([])) == Note("x", "", "Nothing found.")
    assert note_of("<search>x</search>", "broken") == Note("x")
    view = EpisodeView("Q?", (PastTurn("Q?", "nonsense", False), PastTurn("no", "<search>x</search>")), "broken", ())
    assert prompt_of(view) == "question: Q?\nfailed: no search\nsearched: x\nfound: nothing"


def test_a_year_is_three_or_four_digits_and_one_passage_is_no_timeline() -> None:
    assert Note("x", "T", "In 12345 and 17 nothing, in 987 a town.").year == 987
    assert Note("x", "T", "No number.").year is None
    notes = [Note("a", "A", "In 1900."), Note("a", "A", "In 1900."), Note("b", "B", "No year.")]
    assert timeline(notes) == []
    assert timeline([*notes, Note("c", "C", "In 800.")]) == [(800, "C"), (1900, "A")]


def test_responses_have_a_space_before_the_text_that_the_action_does_not_have() -> None:
    respond = getattr(TEMPLATE, "respond")  # noqa: B009
    assert respond("<search>Ab Cd</search>", think=False) == "<search> Ab Cd</search>"
    assert TEMPLATE.parse("<search> Ab Cd</search>", think=False).action == "<search>Ab Cd</search>"
    assert respond("<answer>1850</answer>", think=True).endswith("</think>\n<answer> 1850</answer>")
