"""Run details beside the episodes: tokens, texts of skills, the range of the clipped loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdar_gym.algorithms.methods import get_method
from sdar_gym.report.tokens import TokenDumpError, read_tokens
from sdar_gym.viewer.recording import Batch, Recording


def tokens_of(batch: Batch, notices: list[str]) -> dict[str, dict[int, dict[str, Any]]]:
    """The token rows of a batch by episode and turn, from 1; empty where there are none.

    Args:
        batch: The file of episodes.
        notices: Gets a sentence if the token file cannot be read.
    """
    if not batch.tokens.is_file():
        return {}
    found: dict[str, dict[int, dict[str, Any]]] = {}
    try:
        for row in read_tokens(batch.tokens):
            found.setdefault(row["episode_id"], {})[row["turn"]] = row
    except TokenDumpError as error:
        notices.append(f"The tokens of {batch.name} are not shown: {error}")
        return {}
    return found


def skill_texts(recording: Recording, notices: list[str]) -> dict[str, tuple[str, str]]:
    """Title and text of the skills in the run's library, by id.

    Args:
        recording: The run.
        notices: Gets a sentence if the library cannot be read here.
    """
    from sdar_gym.envs.registry import entry_of
    from sdar_gym.skills.controls import library_of

    settings = recording.settings
    try:
        named = (settings.get("skills") or {}).get("library")
        skills = library_of(named, entry_of(str(settings["env"])).skills) or ()
    except KeyError:
        return {}
    except (ValueError, OSError) as error:
        notices.append(f"The texts of the skills of {recording.name} are not shown: {error}")
        return {}
    return {skill.id: (skill.title, skill.text) for skill in skills}


def clip_range(settings: Mapping[str, Any]) -> tuple[float, float] | None:
    """The ratios between which the loss is not clipped; None if the method is not known here.

    Args:
        settings: The run's settings.
    """
    method = settings.get("method")
    try:
        objective = get_method(method).objective if isinstance(method, str) else None
    except ValueError:  # A method of a package that is not imported here.
        objective = None
    if objective is None:
        return None
    training = settings.get("training") or {}
    changed = ((training.get("objective_by_method") or {}).get(method) or {}) | (training.get("objective") or {})
    return 1 - changed.get("clip_low", objective.clip_low), 1 + changed.get("clip_high", objective.clip_high)
