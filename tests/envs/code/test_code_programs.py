"""The program in a response: blocks, tags, whole texts, and hostile texts."""

from __future__ import annotations

import time
import warnings

import pytest

from sdar_gym.envs.code.programs import LONGEST_PROGRAM, find_program, has_program

ONE = "def f(x): return x"


def text_of(response: str) -> str | None:
    found = find_program(response)
    return None if found is None else found.text


@pytest.mark.parametrize(
    ("response", "program"),
    [
        (f"```python\n{ONE}\n```", ONE),
        (f"Here:\n```python\nx = 1\n```\nBetter:\n```python\n{ONE}\n```\nDone.", ONE),
        (f"```python\n{ONE}\n```\n```\nx = 1\n```", ONE),
        (f"```\nx = 1\n```\n```\n{ONE}\n```", ONE),
        (f"```py\n{ONE}\n```", ONE),
        (f"```Python3\n{ONE}\n```", ONE),
        (f"   ```python\n{ONE}\n   ```", ONE),
        (f"```json\n[1]\n```\n```\n{ONE}\n```", ONE),
        (f"```python\n{ONE}\n```\n```json\n[1]\n```", ONE),
        (f"```python\nnever closed\n```python\n{ONE}\n```", ONE),
        (f"```python\r\n{ONE}\r\n```", ONE),
        (f"<answer>{ONE}</answer>", ONE),
        (f"<answer>x = 1</answer> no: <answer>\n{ONE}\n</answer>", ONE),
        (f"<answer>```python\n{ONE}\n```</answer>", ONE),
        (ONE, ONE),
        (f"  {ONE}  ", ONE),
        (f"\n{ONE}\n\n", ONE),
        ("print(int(input())*2)", "print(int(input())*2)"),
        ("import sys\nx = 1", "import sys\nx = 1"),
        ("a = 'caf\u00e9'", "a = 'caf\u00e9'"),
        (f"```python\nif 1:\n    x = '''\n  {ONE}'''\n```", f"if 1:\n    x = '''\n  {ONE}'''"),
    ],
)
def test_the_program_is_found(response: str, program: str) -> None:
    found = find_program(response)
    assert found is not None and (found.text, found.error, found.formed) == (program, "", True)
    assert has_program(response)


@pytest.mark.parametrize(
    "response",
    [
        "",
        " \n ",
        "look",
        "12",
        "None",
        "'''text'''",
        "search[red shirt]",
        "I do not know.",
        "<answer></answer>",
        "<answer>12</answer>",
        "</answer>def f(x): return x<answer>",
        "```python\n```",
        "```python\n# only a comment\n```",
        "```\nhello\n```",
        "```json\n[1]\n```",
        "<search>who</search>",
        "-" * 10_000 + "1",
        "\x00",
        "x" * (LONGEST_PROGRAM + 1),
    ],
)
def test_there_is_no_program(response: str) -> None:
    assert find_program(response) is None
    assert not has_program(response)


def test_what_is_not_python_says_why() -> None:
    fenced = find_program("```python\ndef f(x) return x\n```")
    assert fenced is not None and fenced.formed
    assert fenced.error == "SyntaxError: expected ':' (line 1)"
    # A whole text has to be a program to count as one, but learns why it is not.
    plain = find_program("def f(x): return [x")
    assert plain is not None and not plain.formed and "never closed" in plain.error
    assert find_program("Because of the loop it is 3.") is None
    for text in ("for all x it holds", "if in doubt, ask"):
        found = find_program(text)
        assert found is not None and not found.formed


@pytest.mark.parametrize(
    "inside",
    ["(" * 40_000, "-" * 40_000 + "1", "a" + ".b" * 20_000, "x = 1\x00", "[" * 90 + "]" * 90 + " = ]", "9" * 40_000],
)
def test_hostile_programs_end_with_a_reason_or_none(inside: str) -> None:
    found = find_program(f"```python\n{inside}\n```")
    assert found is None or found.error.startswith("SyntaxError")


def test_a_program_that_is_too_long_is_not_kept() -> None:
    found = find_program(f"```python\nx = 1{' ' * LONGEST_PROGRAM}#\n```")
    assert found is not None and not found.formed and found.text == "" and "50,000" in found.error


def test_warnings_of_a_program_are_no_warnings_of_the_gym() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert text_of("```python\nx = '\\d' is 3\n```") == "x = '\\d' is 3"


def test_large_texts_take_linear_time() -> None:
    large = 1_000_000
    begun = time.process_time()
    for piece in ("```", "```python\n", "<answer>", "</answer>", "`", "\n", "<answer></answer>", "```\n```python\n"):
        find_program(piece * (large // len(piece)))
    assert time.process_time() - begun < 30
