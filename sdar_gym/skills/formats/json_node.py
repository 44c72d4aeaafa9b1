"""JSON reading for the importers: errors name the file and the path of the value in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.skills.formats.text_files import SkillFormatError, decode_lines
from sdar_gym.skills.skill import Skill
from sdar_gym.text import shortened, terminal_safe, well_formed


def parse_json(data: bytes, where: str) -> JsonNode:
    """Parse a JSON file; a key that occurs twice in one object is an error.

    Args:
        data: The file.
        where: Its name in messages.

    Raises:
        SkillFormatError: It is damaged.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise SkillFormatError(
                    f"{where}: the key {shortened(key)} occurs twice in one object; rename one of the two."
                )
            found[key] = value
        return found

    text = "\n".join(decode_lines(data, where))
    try:
        return JsonNode(json.loads(text, object_pairs_hook=unique), where, "")
    except SkillFormatError:
        raise
    except json.JSONDecodeError as error:
        raise SkillFormatError(
            f"{where}, line {error.lineno}: no JSON here ({error.msg}); fix the file or fetch it again."
        ) from None
    except RecursionError:
        raise SkillFormatError(f"{where}: nested too deeply to be a skill library.") from None
    except (*DAMAGED, ValueError) as error:  # Numbers of more digits than Python reads.
        raise SkillFormatError(f"{where}: no JSON ({first_line(error)}); fix the file or fetch it again.") from None


class JsonNode:
    """A value in a JSON file, with file and path for error messages.

    Args:
        value: The value.
        where: The file's name in messages.
        path: Path of the value in the file.
    """

    def __init__(self, value: Any, where: str, path: str):
        self.value = value
        self.where = where
        self._path = path

    def error(self, what: str, path: str | None = None) -> SkillFormatError:
        """The error for this value, or for another path of the file."""
        # Keys come from the file and may be of any length and kind.
        path = terminal_safe(self._path if path is None else path)
        path = path if len(path) <= 300 else f"{path[:150]}...{path[-150:]}"
        return SkillFormatError(f"{self.where}{', at ' + path if path else ''}: {what}")

    def get(self, key: str) -> JsonNode:
        """The value of a key.

        Raises:
            SkillFormatError: This is no object, or lacks the key.
        """
        self._is(dict, "an object")
        if key not in self.value:
            raise self.error(f"{key!r} is missing; it has {shortened(list(self.value))[1:-1] or 'nothing'}.")
        return JsonNode(self.value[key], self.where, f"{self._path}.{key}" if self._path else key)

    def has(self, key: str) -> bool:
        """Whether an optional key is there and neither empty nor null."""
        self._is(dict, "an object")
        return bool(self.value.get(key))

    def unwrapped(self, key: str) -> JsonNode:
        """The value of a key if there is one, else this value."""
        return self.get(key) if isinstance(self.value, dict) and key in self.value else self

    def members(self) -> dict[str, JsonNode]:
        """The values of an object by key; keys are well-formed Unicode."""
        self._is(dict, "an object")
        found = {well_formed(key): self.get(key) for key in self.value}
        if len(found) < len(self.value):
            raise self.error("two keys differ by lone surrogates only; rename one of them.")
        return found

    def items(self) -> list[JsonNode]:
        """The values of a list."""
        self._is(list, "a list")
        return [JsonNode(value, self.where, f"{self._path}[{at}]") for at, value in enumerate(self.value)]

    def text(self) -> str:
        """A text that is not empty, well-formed and stripped."""
        self._is(str, "a text")
        if not self.value.strip():
            raise self.error("the text is empty; fill it in or take the whole entry out.")
        return well_formed(self.value).strip()

    def id(self, key: str) -> str:
        """A skill id made of the text under a key."""
        return plain_id(self.get(key).text())

    def only(self, known: frozenset[str]) -> None:
        """Refuse unknown keys.

        Raises:
            SkillFormatError: There is one.
        """
        self._is(dict, "an object")
        for key in self.value:
            if key not in known:
                raise self.error(f"unknown key {shortened(key)}; known here: {', '.join(sorted(known))}.")

    def _is(self, kind: type, called: str) -> None:
        if not isinstance(self.value, kind):
            raise self.error(f"this has to be {called}, and is {type(self.value).__name__}.")


def plain_id(name: str) -> str:
    """A skill id: lower case, with `-` for every character that ids may not have."""
    return re.sub(r"[^a-z0-9._-]", "-", name.lower()).lstrip("._-") or "x"


def unique_skills(skills: Iterable[Skill], where: str) -> tuple[Skill, ...]:
    """The skills, checked to have different ids.

    Raises:
        SkillFormatError: An id occurs twice.
    """
    found = tuple(skills)
    seen: set[str] = set()
    for skill in found:
        if skill.id in seen:
            raise SkillFormatError(f"{where}: the id {skill.id!r} occurs twice; rename one of the two.")
        seen.add(skill.id)
    return found
