"""Fixed date for chat templates that write today's date, so prompts do not change from day to day.

`transformers` gives templates a function `strftime_now`; whether a caller may replace it depends on the version. So a
macro of that name is prepended to the template, and the parts of the date are passed as data. Names of days and months
are English in every locale.
"""

from __future__ import annotations

import re
from datetime import date, datetime

_NOW = re.compile(r"\bstrftime_now\b")
_PERCENT = "\U000f0002"
# `+%}` keeps a line break at the start of the template.
_MACRO = (
    "{%- macro strftime_now(format) -%}"
    "{%- set clock = namespace(text=format) -%}"
    "{%- for directive, value in frozen_clock -%}"
    "{%- set clock.text = clock.text.replace(directive, value) -%}"
    "{%- endfor -%}"
    "{{- clock.text -}}"
    "{%- endmacro +%}"
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def asks_for_clock(template: str) -> bool:
    """Whether a chat template reads the current date."""
    return _NOW.search(template) is not None


def frozen_template(template: str) -> str:
    """The template with a `strftime_now` that reads the variable `frozen_clock`."""
    return _MACRO + template


def frozen_clock(day: str) -> list[list[str]]:
    """The parts of a date at midnight, by `strftime` directive.

    Args:
        day: `YYYY-MM-DD`.

    Raises:
        ValueError: It is not a date.
    """
    try:
        moment = datetime.combine(date.fromisoformat(day), datetime.min.time())
    except (TypeError, ValueError) as error:
        raise ValueError(f"A date must be written YYYY-MM-DD, such as 2026-01-31, got {day!r}.") from error
    weekday, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    year, number, hour = f"{moment.year:04d}", f"{moment.day:02d}", "12"
    us = f"{moment.month:02d}/{number}/{year[2:]}"
    parts = {
        "a": weekday[:3],
        "A": weekday,
        "b": month[:3],
        "B": month,
        "h": month[:3],
        "c": f"{weekday[:3]} {month[:3]} {moment.day:2d} 00:00:00 {year}",
        "C": year[:2],
        "d": number,
        "D": us,
        "e": f"{moment.day:2d}",
        "f": "000000",
        "F": moment.date().isoformat(),
        "H": "00",
        "I": hour,
        "k": " 0",
        "l": hour,
        "m": f"{moment.month:02d}",
        "M": "00",
        "n": "\n",
        "p": "AM",
        "P": "am",
        "r": f"{hour}:00:00 AM",
        "R": "00:00",
        "S": "00",
        "t": "\t",
        "T": "00:00:00",
        "x": us,
        "X": "00:00:00",
        "y": year[2:],
        "Y": year,
        "z": "",
        "Z": "",
    } | {letter: moment.strftime(f"%{letter}") for letter in "jGuUVwW"}
    bare = {f"-{letter}": parts[letter].lstrip("0") or "0" for letter in "dmyHIMSjUVW"}
    ordered = [[f"%{letter}", value] for letter, value in (bare | parts).items()]
    # Protect `%%` first: what follows it is not a directive.
    return [["%%", _PERCENT], *ordered, [_PERCENT, "%"]]
