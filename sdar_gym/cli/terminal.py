"""Terminal output of the command line, safe for untrusted text.

Goals, observations, skills, responses and messages of servers are untrusted. A `Terminal` escapes control characters,
parses no markup and no emoji codes, and replaces characters that the console's encoding lacks. For color, pass a
`rich.text.Text` with a style.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import Task, TextColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from sdar_gym.text import terminal_safe

# Most characters of a message; longer ones are cut in the middle.
_LONGEST = 1_500


class Terminal(Console):
    """A console for untrusted text; see the module."""

    def __init__(self, *, stderr: bool = False):
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Escape text before it is measured, so that tables know its width."""
        return super().render_str(terminal_safe(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Escape every segment of any renderable."""
        for segment in super().render(renderable, options):
            # Control segments come from rich itself, such as a moving bar.
            yield segment if segment.control else Segment(terminal_safe(segment.text), segment.style)

    def tell(self, text: str | Text) -> None:
        """Print a line without wrapping it."""
        self.print(text, soft_wrap=True)


class Column(TextColumn):
    """A text column of a progress bar for untrusted text."""

    def render(self, task: Task) -> Text:
        """Escape the text before it is measured."""
        return Text(terminal_safe(self.text_format.format(task=task)), style=self.style, justify=self.justify)


def table(columns: Iterable[str], rows: Iterable[Iterable[str | Text]] = (), **settings: Any) -> Table:
    """A table without borders; long cells are wrapped, not truncated."""
    result = Table(box=None, pad_edge=False, **settings)
    for column in columns:
        result.add_column(column, overflow="fold")
    for row in rows:
        result.add_row(*row)
    return result


def one_line(message: object) -> str:
    """A message as one printable line of limited length."""
    text = " ".join(line.strip() for line in str(message).splitlines() if line.strip())
    half = _LONGEST // 2
    return terminal_safe(text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}")


def tell_error(message: object) -> None:
    """Print an error message."""
    try:
        Terminal(stderr=True).print(Text.assemble(("error:", "bold red"), " ", one_line(message)), soft_wrap=True)
    except OSError:  # The stream is closed; the exit status remains.
        leave_closed_pipe()


def explained(error: BaseException) -> str:
    """A readable message for errors of the system or the interpreter."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else "")
    if isinstance(error, RecursionError):
        return "The input is nested too deeply."
    if isinstance(error, MemoryError):
        return f"There is not enough memory. {error}".strip()
    return str(error) or type(error).__name__


def replace_unencodable_characters() -> None:
    """Let the standard streams escape characters that their encoding lacks, instead of raising."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def symbol(character: str, plain: str) -> str:
    """A character, or its plain replacement if the console's encoding lacks it."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        character.encode(encoding)
    except (UnicodeError, LookupError):
        return plain
    return character


def leave_closed_pipe() -> None:
    """Discard output after the reader has closed the pipe (`| head`), which is not an error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            except (OSError, ValueError, AttributeError):
                continue


@contextmanager
def own_warnings_only() -> Iterator[None]:
    """Show sdar-gym's own warnings as one line each; those of libraries only with `-W`."""
    if sys.warnoptions:
        yield
        return
    with warnings.catch_warnings():

        def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            if category.__module__.partition(".")[0] == "sdar_gym":
                Terminal(stderr=True).print(
                    Text.assemble(("warning:", "yellow"), " ", one_line(message)), soft_wrap=True
                )

        warnings.showwarning = show
        yield
