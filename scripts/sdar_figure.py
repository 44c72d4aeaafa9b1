"""Draws docs/assets/sdar-light.svg and sdar-dark.svg: environment, student, teacher with a skill, gate and loss.

    python scripts/sdar_figure.py [--check]

Two files, since a picture in a document cannot know whether its page is light or dark. The numbers of the four tokens
are an example; the gates are computed from them.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "assets"
BETA = 5.0
# Token, log-probability of the student, of the teacher.
TOKENS = (("go", -0.1, -0.1), ("to", -0.0, -0.0), ("fridge", -1.0, -0.4), ("2", -0.2, -0.6))
ALT = (
    "The student, a language model, plays episodes in an environment: it reads task and observation and samples a "
    "response; the environment answers with an observation and a reward. The teacher is the same model with a "
    "retrieved skill in its prompt; it scores the student's tokens. A token's gap is its log-probability under the "
    "teacher minus that under the student, and its gate is the sigmoid of beta times the gap. The loss is the "
    "GRPO policy gradient plus lambda times the mean of gate times log-ratio."
)


@dataclass(frozen=True)
class Colors:
    """Colors of one of the two files."""

    text: str
    faint: str
    line: str
    box: str
    student: str
    teacher: str
    gate: str
    panel: str


FILES = {
    "sdar-light.svg": Colors("#1f2430", "#5c6474", "#8a93a5", "#ffffff", "#2f5fd0", "#b3541e", "#1d7f5f", "#f5f7fb"),
    "sdar-dark.svg": Colors("#e8ebf2", "#aab2c3", "#8791a6", "#232a3a", "#8fb1ff", "#f0a875", "#6fd3ae", "#1b2130"),
}


def figure(color: Colors) -> str:
    """The whole figure."""
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 22 980 430" role="img" aria-labelledby="title text" '
        "font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif\">",
        '<title id="title">SDAR in one figure</title>',
        f'<desc id="text">{ALT}</desc>',
        "<defs>"
        + "".join(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
            f'orient="auto-start-reverse"><path d="M0 0 10 5 0 10z" fill="{fill}"/></marker>'
            for name, fill in (("a", color.line), ("s", color.student), ("t", color.teacher))
        )
        + "</defs>",
        *_boxes(color),
        *_tokens(color),
        *_loss(color),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _boxes(color: Colors) -> list[str]:
    """Environment and skills at the left, student and teacher in the middle."""
    return [
        _box(color, 12, 36, 190, 104, color.line),
        _text(107, 68, "Environment", color.text, 17, weight=600),
        _text(107, 92, "ALFWorld, WebShop,", color.faint),
        _text(107, 111, "Search-QA, Math, …", color.faint),
        _box(color, 12, 226, 190, 104, color.line),
        _text(107, 258, "Skill library", color.text, 17, weight=600),
        _text(107, 282, "short texts of advice,", color.faint),
        _text(107, 301, "retrieved for the task", color.faint),
        _box(color, 348, 36, 218, 104, color.student),
        _text(457, 66, "Student", color.student, 17, weight=600),
        _text(457, 91, "weights θ", color.text),
        _text(457, 114, "reads task and observation", color.faint),
        _box(color, 348, 226, 218, 104, color.teacher),
        _text(457, 256, "Teacher", color.teacher, 17, weight=600),
        _text(457, 281, "same weights θ, no gradient", color.text),
        _text(457, 304, "reads the same and the skill", color.faint),
        _arrow("M342 68 H208", color.line, "a"),
        _text(275, 59, "action", color.faint),
        _arrow("M208 110 H342", color.line, "a"),
        _text(275, 129, "observation,", color.faint),
        _text(275, 147, "reward", color.faint),
        _arrow("M208 278 H342", color.line, "a"),
        _text(275, 269, "skill", color.faint),
        f'<path d="M457 146 V220" stroke="{color.line}" stroke-width="1.6" stroke-dasharray="5 4"/>',
        _text(467, 188, "one model", color.faint, anchor="start"),
    ]


def _tokens(color: Colors) -> list[str]:
    """The panel at the right: what each sampled token gets."""
    parts = [
        f'<rect x="640" y="36" width="328" height="294" rx="10" fill="{color.panel}" stroke="{color.line}"/>',
        _text(804, 62, "each token that the student sampled", color.text, 14, weight=600),
        _arrow("M572 100 H634", color.student, "s"),
        _text(603, 91, "samples", color.student, 12.5),
        _arrow("M572 278 C604 278 604 180 634 180", color.teacher, "t"),
        _text(603, 300, "scores", color.teacher, 12.5),
    ]
    labels = (
        (139, "log p", "student", color.student),
        (178, "log p", "teacher", color.teacher),
        (217, "Δ", "gap", color.text),
        (262, "g", "= σ(βΔ)", color.gate),
    )
    for y, name, what, fill in labels:
        parts.append(_text(654, y, f"{name} {what}", fill, 13, anchor="start"))
    for column, (token, student, teacher) in enumerate(TOKENS):
        x, gap = 766 + 54 * column, teacher - student
        gate = 1 / (1 + math.exp(-BETA * gap))
        parts += [
            f'<rect x="{x - 24}" y="83" width="48" height="30" rx="5" fill="{color.box}" stroke="{color.student}"/>',
            _text(x, 103, token, color.text, 14),
            _text(x, 139, _signed(student), color.student, 13),
            _text(x, 178, _signed(teacher), color.teacher, 13),
            _text(x, 217, _signed(gap, plus=True), color.text, 13),
            f'<rect x="{x - 9}" y="236" width="18" height="52" rx="2" fill="none" stroke="{color.line}"/>',
            f'<rect x="{x - 9}" y="{288 - 52 * gate:.1f}" width="18" height="{52 * gate:.1f}" rx="2" '
            f'fill="{color.gate}"/>',
            _text(x, 310, f"{gate:.2f}", color.gate, 13),
        ]
    return parts


def _loss(color: Colors) -> list[str]:
    """The loss, below."""
    return [
        f'<rect x="12" y="366" width="956" height="74" rx="10" fill="{color.panel}" stroke="{color.line}"/>',
        _text(40, 410, "loss  =", color.text, 18, anchor="start", weight=600),
        _text(262, 400, "policy gradient (GRPO)", color.student, 18, weight=600),
        _text(262, 424, "rewards of episodes of one task, compared", color.faint),
        _text(424, 410, "+", color.text, 20, weight=600),
        _text(700, 400, "λ · mean of  g · (log p teacher − log p student)", color.gate, 18, weight=600),
        _text(700, 424, "distillation: strong where the teacher likes the token more than the student", color.faint),
    ]


def _box(color: Colors, x: int, y: int, width: int, height: int, stroke: str) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="10" fill="{color.box}" stroke="{stroke}" '
        'stroke-width="1.8"/>'
    )


def _arrow(path: str, stroke: str, marker: str) -> str:
    return f'<path d="{path}" fill="none" stroke="{stroke}" stroke-width="1.8" marker-end="url(#{marker})"/>'


def _text(
    x: float, y: float, text: str, fill: str, size: float = 13.5, *, anchor: str = "middle", weight: int = 400
) -> str:
    return (
        f'<text x="{x}" y="{y}" fill="{fill}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
        f'xml:space="preserve">{text}</text>'
    )


def _signed(value: float, *, plus: bool = False) -> str:
    text = f"{abs(value):.1f}"
    return text if text == "0.0" else f"{'−' if value < 0 else '+' if plus else ''}{text}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or say that they are out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    options = parser.parse_args(arguments)
    old = [
        name
        for name, color in FILES.items()
        if not (FOLDER / name).is_file() or (FOLDER / name).read_text(encoding="utf-8") != figure(color)
    ]
    if not options.check:
        for name in old:
            (FOLDER / name).write_text(figure(FILES[name]), encoding="utf-8")
    print(f"{'out of date' if options.check else 'written'}: {', '.join(old)}" if old else "both are up to date")
    return int(options.check and bool(old))


if __name__ == "__main__":
    sys.exit(main())
