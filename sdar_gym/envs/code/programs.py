"""The program in a response: where it is looked for, and whether it is Python."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

from sdar_gym.text import well_formed

LONGEST_PROGRAM = 50_000
_PYTHON = ("python", "python3", "py")
_BEGINNING = re.compile(r"(def|class|import|from|for|while|if|print)\b|@")


@dataclass(frozen=True, slots=True)
class FoundProgram:
    """A program in a response.

    Attributes:
        text: The program.
        error: Why it is not Python; empty if it is.
        formed: Whether it was in the required form.
    """

    text: str
    error: str = ""
    formed: bool = True


def find_program(response: str) -> FoundProgram | None:
    """The program in a response, or None if there is none.

    It is the last block fenced by three backticks and marked `python`, else the last unmarked block, else the text in
    the last `<answer>` tags, else the whole text. A program has a definition or a statement: a name or a number alone
    is none. A whole text that is not Python is no program in the required form, but is told why if it begins like one.

    Args:
        response: Any text.
    """
    inside = _fenced(response)
    if inside is None:
        inside = _tagged(response)
        block = None if inside is None else _fenced(inside)
        inside = inside if block is None else block
    text = well_formed((response if inside is None else inside).strip("\r\n").rstrip())
    if not text.strip():
        return None
    if len(text) > LONGEST_PROGRAM:
        if inside is None:
            return None
        return FoundProgram("", f"it is longer than {LONGEST_PROGRAM:,} characters", formed=False)
    if inside is None and "\n" not in text:
        text = text.strip()
    tree, error = _parsed(text)
    if tree is None:
        if inside is None and _BEGINNING.match(text) is None:
            return None
        return FoundProgram(text, error, formed=inside is not None)
    return FoundProgram(text) if any(map(_does_something, tree.body)) else None


def has_program(response: str) -> bool:
    """Whether a response holds a program in the required form."""
    found = find_program(response)
    return found is not None and found.formed


def _does_something(node: ast.stmt) -> bool:
    """Whether a statement is more than a bare name, number or text."""
    return not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call)


def _parsed(text: str) -> tuple[ast.Module | None, str]:
    try:
        with warnings.catch_warnings():
            # Of the program, such as an unknown escape; not the business of whoever runs this process.
            warnings.simplefilter("ignore")
            return ast.parse(text), ""
    except SyntaxError as error:
        return None, f"SyntaxError: {error.msg} (line {error.lineno})"
    except ValueError as error:  # Null bytes, in some versions of Python.
        return None, f"SyntaxError: {error}"
    except (RecursionError, MemoryError):
        return None, "SyntaxError: it is nested too deeply"


def _fenced(response: str) -> str | None:
    marked = unmarked = None
    opened: str | None = None
    lines: list[str] = []
    for line in response.split("\n"):
        bare = line.strip()
        if bare.startswith("```") and (opened is None or bare != "```"):
            # Inside a block too: the one before was never closed.
            opened, lines = bare[3:].strip().lower(), []
        elif opened is not None and bare == "```":
            if opened in _PYTHON:
                marked = "\n".join(lines)
            elif not opened:
                unmarked = "\n".join(lines)
            opened = None
        elif opened is not None:
            lines.append(line)
    return unmarked if marked is None else marked


def _tagged(response: str) -> str | None:
    end = response.rfind("</answer>")
    start = response.rfind("<answer>", 0, max(end, 0))
    return None if start < 0 else response[start + len("<answer>") : end]
