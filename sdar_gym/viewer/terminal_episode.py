"""Episode in the terminal: a chat of observations and responses, with the tokens colored by a measure.

Without colors a number stands under each token, so that nothing is lost in a pipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.rule import Rule
from rich.text import Text

from sdar_gym.cli.terminal import Terminal, symbol
from sdar_gym.text import terminal_safe
from sdar_gym.viewer.recording import Recording
from sdar_gym.viewer.run_details import clip_range, skill_texts, tokens_of
from sdar_gym.viewer.terminal import find_episode, outcome_text, plot_width
from sdar_gym.viewer.token_measures import MEASURES, Clip, Measure, Row

_POSITIVE, _NEGATIVE = (66, 135, 245), (240, 140, 40)
_WHITE = (255, 255, 255)
_LABEL = "bold cyan"


def show_episode(console: Terminal, recording: Recording, address: str, color: str) -> None:
    """Prints one episode.

    Args:
        console: Where to print.
        recording: The run.
        address: `BATCH/ID`.
        color: One of `MEASURES`.

    Raises:
        RecordingError: There is no such episode.
    """
    batch, episode = find_episode(recording, address)
    notices: list[str] = []
    tokens = tokens_of(batch, notices).get(episode["episode_id"], {})
    clip = clip_range(recording.settings)
    painter = _Painter(console, MEASURES[color], color, tokens.values(), clip)
    _show_head(console, recording, f"{batch.name}/{episode['episode_id']}", episode, notices)
    if tokens:
        console.print()
        console.print(painter.legend())
        if color == "clip" and clip is not None:
            console.tell(f"not clipped: ratios from {clip[0]:g} to {clip[1]:g}")
    context = None
    for number, turn in enumerate(episode["turns"], start=1):
        row = tokens.get(number)
        context = _show_turn(console, number, turn, row, painter, context)
    if not tokens:
        console.tell(
            "\nThis episode has no token file: evaluation.token_turns sets how many turns of an update have one."
        )
    for notice in notices:
        console.print(notice, style="yellow")


def _show_head(
    console: Terminal, recording: Recording, address: str, episode: Mapping[str, Any], notices: list[str]
) -> None:
    told = [f"reward {episode.get('reward', 0.0):.2f}", f"{len(episode['turns'])} turns"]
    told += [f"{name} {value:g}" for name, value in (episode.get("metrics") or {}).items()]
    console.tell(f"{recording.name}  {address}  {episode['task_type']}  {episode['task_id']}")
    console.print(outcome_text(episode), *told, sep=", ")
    _labeled(console, "goal", episode["goal"])
    for key in ("error", "reference"):
        if episode.get(key):
            _labeled(console, key, episode[key])
    skills = episode.get("skills") or []
    if skills:
        texts = skill_texts(recording, notices)
        scores = [*(episode.get("skill_scores") or []), *[None] * len(skills)]
        _labeled(console, "skills", f"by {episode.get('skill_strategy')}, search by {episode.get('skill_backend')}")
        for skill, score in zip(skills, scores, strict=False):
            title, text = texts.get(skill, ("", ""))
            console.tell(f"  {skill} (score {'-' if score is None else f'{score:g}'}) {title}".rstrip())
            for line in text.splitlines():
                console.tell(f"    {line}")


def _show_turn(
    console: Terminal, number: int, turn: Mapping[str, Any], row: Row | None, painter: _Painter, before: str | None
) -> str | None:
    """Prints a turn; returns the teacher's context, which is printed where it changes."""
    console.print()
    told = [f"turn {number}", f"reward {turn.get('reward', 0.0):g}"]
    told += [
        name
        for name, key in (("invalid form", "valid_form"), ("invalid action", "valid_action"))
        if not turn.get(key, True)
    ]
    if row is not None and row["advantage"] is not None:
        told.append(f"advantage {row['advantage']:+.3f}")
    told += [
        f"{turn[key]} {name}"
        for name, key in (("prompt tokens", "prompt_tokens"), ("response tokens", "response_tokens"))
        if key in turn
    ]
    if turn.get("finish_reason", "stop") != "stop":
        told.append(f"ended by {turn['finish_reason']}")
    text = ", ".join(told)
    if console.width > plot_width(console):
        console.tell(f"{symbol('──', '--')} {text}")
    else:
        console.print(Rule(text, align="left", characters=symbol("─", "-")))
    _labeled(console, "observation", turn["observation"])
    if turn.get("admissible_actions"):
        _labeled(
            console, f"admissible actions ({len(turn['admissible_actions'])})", " | ".join(turn["admissible_actions"])
        )
    context = None if row is None else row["teacher_context"]
    if context and context != before:
        _labeled(console, "the teacher's context", context)
    elif context:
        _labeled(console, "the teacher's context", "as before")
    if row is None:
        thought, mark, rest = turn["response"].rpartition("</think>")
        if mark:
            _labeled(console, "thought", thought.replace("<think>", "").strip())
        _labeled(console, "response", rest.strip())
    else:
        console.print(Text("response", style=_LABEL))
        painter.paint(row)
    _labeled(console, "action", turn["action"], style="bold")
    if turn.get("feedback"):
        _labeled(console, "verifier", turn["feedback"])
    return context if context else before


def _labeled(console: Terminal, label: str, text: str, style: str = "") -> None:
    """A label and a text; a text of several lines begins below its label."""
    text = terminal_safe(text.strip())
    between = "\n" if "\n" in text else " "
    console.print(Text.assemble((f"{label}:", _LABEL), between, (text, style)), soft_wrap=not console.is_terminal)


class _Painter:
    """Prints the tokens of a turn with the values of a measure: as backgrounds, or as numbers under them."""

    def __init__(self, console: Terminal, measure: Measure, name: str, rows: Any, clip: Clip):
        self._console, self._measure, self._name, self._clip = console, measure, name, clip
        self._range = measure.scale(rows, clip)
        # With 16 colors the shades cannot be told from each other.
        self._colors = console.is_terminal and not console.no_color and console.color_system in ("256", "truecolor")

    def legend(self) -> Text:
        """What the colors or the numbers mean."""
        about = f"{self._name}{f' in {self._measure.unit}' if self._measure.unit else ''}: {self._measure.about}"
        if not self._colors:
            return Text(f"numbers under tokens: {about}")
        shares = (-1.0, -0.5, 0.0, 0.5, 1.0) if self._measure.diverging else (0.0, 0.25, 0.5, 0.75, 1.0)
        swatches = [(f" {_number(share * self._range)} ", self._style(share * self._range)) for share in shares]
        return Text.assemble("colors of tokens ", *swatches, f" {about}")

    def paint(self, row: Row) -> None:
        """Prints the tokens of a row."""
        values = self._measure.values(row, self._clip)
        if not self._colors:
            self._print_numbers(row["token"], row["class"], values)
        else:
            parts = [
                (terminal_safe(token), f"{self._style(value)} {_class_style(kind)}".strip())
                for token, kind, value in zip(row["token"], row["class"], values, strict=True)
            ]
            self._console.print(Text.assemble(*parts))
        if all(value is None for value in values):
            reason = "the turn has no teacher" if self._name in ("gap", "gate") else "not recorded"
            self._console.print(f"no {self._name}: {reason}", style="yellow")

    def _print_numbers(self, tokens: Sequence[str], kinds: Sequence[str], values: Sequence[float | None]) -> None:
        width = plot_width(self._console)
        above = below = ""
        for token, value in zip(tokens, values, strict=True):
            text, number = _visible(token), "-" if value is None else _number(value)
            cells = max(cell_len(text), len(number)) + 1
            if above and cell_len(above) + cells > width:
                self._print_pair(above, below)
                above = below = ""
            above += text + " " * (cells - cell_len(text))
            below += f"{number:<{cells}}"
        self._print_pair(above, below)

    def _print_pair(self, above: str, below: str) -> None:
        self._console.print(above.rstrip(), soft_wrap=True)
        self._console.print(below.rstrip(), soft_wrap=True, style="dim")

    def _style(self, value: float | None) -> str:
        if value is None:
            return ""
        # The share is not linear, so that small values are seen too.
        share = min(1.0, abs(value) / self._range) ** 0.7
        if share < 0.05:
            return ""
        color = _NEGATIVE if self._measure.diverging and value < 0 else _POSITIVE
        red, green, blue = (round(low + (high - low) * share) for low, high in zip(_WHITE, color, strict=True))
        return f"black on #{red:02x}{green:02x}{blue:02x}"


def _class_style(kind: str) -> str:
    return {"think": "italic", "action": "bold"}.get(kind, "")


def _number(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 0.01 and value else f"{value:.2f}"


def _visible(token: str) -> str:
    """A token on one line, with its spaces at both ends shown."""
    space = symbol("·", "_")
    text = token.replace("\n", "\\n").replace("\t", "\\t")
    head, tail = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    if head == len(text):
        return space * head
    return space * head + terminal_safe(text.strip(" ")) + space * tail
