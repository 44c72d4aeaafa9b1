"""Inspect logs: the episodes of a batch as a log of inspect_ai, for `inspect view` and its log readers.

A sample is an episode: its id is the task, and its epoch counts the episodes of that task. Observations are user
messages and responses assistant messages, with everything recorded of a turn as their metadata.

Source: inspect_ai 0.3.285, the classes of `inspect_ai.log`, `inspect_ai.model` and `inspect_ai.scorer`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from sdar_gym.evaluation.summary import success_by_type
from sdar_gym.extras import require
from sdar_gym.files import fresh_sibling
from sdar_gym.paths import first_line
from sdar_gym.report.tokens import NUMBER_LISTS, TEXT_LISTS
from sdar_gym.text import shortened, well_formed
from sdar_gym.viewer.recording import Batch, Recording, RecordingError, read_episodes
from sdar_gym.viewer.run_details import skill_texts, tokens_of

# Tokens of a sample whose values are written, in whole turns: the viewer reads a sample as a whole.
MOST_TOKENS = 4_000
_STOP = {"stop": "stop", "length": "max_tokens"}
# What the messages of a turn say of it.
_OF_OBSERVATION = ("admissible_actions",)
_OF_RESPONSE = (
    "action", "valid_form", "valid_action", "reward", "feedback", "prompt_tokens", "response_tokens", "finish_reason",
    "mean_logprob",
)  # fmt: skip
_OF_EPISODE = (
    "episode_id", "group_id", "task_type", "split", "goal", "won", "reward", "ended", "metrics", "skills_specific",
    "skill_strategy", "skill_backend", "context_forks",
)  # fmt: skip


def write_inspect_logs(
    recording: Recording, output: Path | None = None, batch: str | None = None
) -> tuple[list[Path], list[str]]:
    """Writes a log of each evaluation, or of one batch.

    Args:
        recording: The run.
        output: A folder; of one batch also a file, `*.eval` or `*.json`. Default: the folder `inspect` of the run.
        batch: Name of the batch; None for all evaluations.

    Returns:
        The files, and what could not be written, in sentences.

    Raises:
        MissingExtraError: inspect_ai is not installed.
        RecordingError: There is no such batch, or a file cannot be read or written.
    """
    require("inspect", "Exporting logs of inspect_ai")
    batches = recording.batches()
    chosen = [each for each in batches if each.name == batch or (batch is None and each.kind == "eval")]
    if not chosen:
        wanted = "evaluation" if batch is None else f"batch {shortened(batch)}"
        known = ", ".join(each.name for each in batches) or "no episodes"
        raise RecordingError(f"{recording.path} has no {wanted}; it has: {known}.")
    place = (recording.path / "inspect" if output is None else output).absolute()
    is_file = place.suffix in (".eval", ".json")
    if is_file and len(chosen) > 1:
        raise RecordingError(
            f"{len(chosen)} evaluations are {len(chosen)} logs, and {place} is one file; choose one with --batch "
            f"({', '.join(each.name for each in chosen)}), or give a folder."
        )
    notices: list[str] = []
    paths = [place] if is_file else [place / f"{each.name}.eval" for each in chosen]
    for path, each in zip(paths, chosen, strict=True):
        _write(inspect_log(recording, each, notices), path)
    return paths, list(dict.fromkeys(notices))


def inspect_log(recording: Recording, batch: Batch, notices: list[str]) -> Any:
    """The log of a batch, an `inspect_ai.log.EvalLog`.

    Args:
        recording: The run.
        batch: The file of episodes.
        notices: Gets sentences about what could not be read.
    """
    from inspect_ai.log import (  # pyright: ignore[reportMissingImports]
        EvalConfig,
        EvalDataset,
        EvalLog,
        EvalSpec,
        EvalStats,
    )
    from inspect_ai.model import GenerateConfig, ModelUsage  # pyright: ignore[reportMissingImports]

    settings, result = recording.settings, _result_of(recording, batch)
    model = str((settings.get("policy") or {}).get("model") or "policy")
    tokens, texts = tokens_of(batch, notices), skill_texts(recording, notices)
    repeats: Counter[str] = Counter()
    samples = []
    for episode in read_episodes(batch):
        repeats[episode["task_id"]] += 1
        rows = tokens.get(episode["episode_id"], {})
        samples.append(_sample(_encodable(episode), repeats[episode["task_id"]], _encodable(rows), texts, model))
    written = datetime.fromtimestamp(batch.file.stat().st_mtime, UTC).isoformat(timespec="seconds")
    run = str(recording.versions.get("run") or recording.name)
    rollout = settings.get("rollout") or {}
    spec = EvalSpec(
        eval_id=f"{run}-{batch.name}",
        run_id=run,
        created=written,
        task=f"{settings.get('env', recording.name)} {batch.name}",
        task_id=f"{recording.name}-{batch.name}",
        dataset=EvalDataset(
            name=result.get("panel") or batch.name, samples=len(repeats), sample_ids=list(repeats), shuffled=False
        ),
        model=model,
        model_generate_config=GenerateConfig(
            temperature=result.get("temperature", rollout.get("temperature")),
            max_tokens=rollout.get("max_response_tokens"),
        ),
        config=EvalConfig(epochs=max(repeats.values(), default=1)),
        packages={
            name: found for name, found in (recording.versions.get("packages") or {}).items() if isinstance(found, str)
        },
        tags=[f"update {batch.update}", str(settings.get("method", ""))],
        metadata=_encodable({"run": recording.name, "update": batch.update, "evaluation": result, "config": settings}),
    )
    usage = ModelUsage()
    for sample in samples:
        usage += sample.model_usage[model]
    return EvalLog(
        status="success",
        eval=spec,
        results=_results(samples, result),
        stats=EvalStats(started_at=written, completed_at=written, model_usage={model: usage}),
        samples=samples,
    )


def _sample(
    episode: Mapping[str, Any],
    epoch: int,
    rows: Mapping[int, Mapping[str, Any]],
    texts: Mapping[str, tuple[str, str]],
    model: str,
) -> Any:
    from inspect_ai.log import EvalError, EvalSample, EvalSampleLimit  # pyright: ignore[reportMissingImports]
    from inspect_ai.model import ChatCompletionChoice, ModelOutput, ModelUsage  # pyright: ignore[reportMissingImports]
    from inspect_ai.scorer import CORRECT, INCORRECT, Score  # pyright: ignore[reportMissingImports]

    messages, left_out, room = [], 0, MOST_TOKENS
    for number, turn in enumerate(episode["turns"], start=1):
        row = rows.get(number)
        count = 0 if row is None else len(row["token"])
        fits = count <= room
        # After a turn that does not fit, no later one is written either.
        room, left_out = (room - count, left_out) if fits else (0, left_out + count)
        messages += _messages(f"{episode['episode_id']}-{number}", turn, row, model, with_tokens=fits)
    turns = episode["turns"]
    read, sampled = (sum(turn.get(key, 0) for turn in turns) for key in ("prompt_tokens", "response_tokens"))
    usage = ModelUsage(input_tokens=read, output_tokens=sampled, total_tokens=read + sampled)
    ended = str(episode.get("ended", ""))
    scores = [*(episode.get("skill_scores") or []), *[None] * len(episode.get("skills") or [])]
    skills = [
        {"id": skill, "score": score, "title": texts.get(skill, ("", ""))[0], "text": texts.get(skill, ("", ""))[1]}
        for skill, score in zip(episode.get("skills") or [], scores, strict=False)
    ]
    choice = ChatCompletionChoice(message=messages[-1], stop_reason=_stop(turns[-1])) if turns else None
    return EvalSample(
        id=episode["task_id"],
        epoch=epoch,
        input=episode["goal"],
        target=str(episode.get("reference") or ""),
        messages=messages,
        output=ModelOutput(model=model, choices=[choice] if choice else [], usage=usage),
        scores={
            "success": Score(
                value=CORRECT if episode["won"] else INCORRECT,
                answer=turns[-1]["action"] if turns else None,
                explanation=ended,
            ),
            "score": Score(value=float(episode.get("score", episode["won"]))),
        },
        metadata={key: episode[key] for key in _OF_EPISODE if key in episode}
        | {"skills": skills}
        | ({"tokens_left_out": left_out} if left_out else {}),
        model_usage={model: usage},
        turn_count=len(turns),
        error=EvalError(message=episode["error"], traceback="", traceback_ansi="") if episode.get("error") else None,
        limit=EvalSampleLimit(type="turn" if ended == "truncated" else "context", limit=len(turns), reason=ended)
        if ended in ("truncated", "context_full", "prompt_too_long")
        else None,
    )


def _messages(
    name: str, turn: Mapping[str, Any], row: Mapping[str, Any] | None, model: str, *, with_tokens: bool
) -> list[Any]:
    """The observation and the response of a turn."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ContentReasoning, ContentText  # pyright: ignore[reportMissingImports]

    thought, mark, rest = turn["response"].rpartition("</think>")
    content: Any = turn["response"]
    if mark and thought.lstrip().startswith("<think>"):
        content = [ContentReasoning(reasoning=thought.lstrip().removeprefix("<think>")), ContentText(text=rest)]
    told = {key: turn[key] for key in _OF_RESPONSE if key in turn}
    if row is not None:
        told |= {key: row[key] for key in ("advantage", "teacher_context") if row[key] is not None}
    if row is not None and with_tokens:
        told["tokens"] = {key: row[key] for key in (*TEXT_LISTS, *NUMBER_LISTS) if row[key] is not None}
    return [
        ChatMessageUser(
            id=f"{name}-observation",
            content=turn["observation"],
            metadata={key: turn[key] for key in _OF_OBSERVATION if key in turn} or None,
        ),
        ChatMessageAssistant(id=f"{name}-response", content=content, model=model, source="generate", metadata=told),
    ]


def _stop(turn: Mapping[str, Any]) -> Any:
    return _STOP.get(str(turn.get("finish_reason", "stop")), "unknown")


def _results(samples: Sequence[Any], result: Mapping[str, Any]) -> Any:
    """Means over the samples; of an evaluation also its interval and its success by type, as the run reported them."""
    from inspect_ai.log import EvalMetric, EvalResults, EvalScore  # pyright: ignore[reportMissingImports]
    from inspect_ai.scorer import CORRECT  # pyright: ignore[reportMissingImports]

    reported = {key: result[key] for key in ("success_low", "success_high") if isinstance(result.get(key), int | float)}
    by_type = success_by_type(result)
    metrics = {
        "success": {"accuracy": _mean([sample.scores["success"].value == CORRECT for sample in samples]), **reported},
        "score": {"mean": _mean([sample.scores["score"].value for sample in samples])},
    }
    scores = [
        EvalScore(
            name=name,
            scorer=name,
            scored_samples=len(samples),
            metrics={key: EvalMetric(name=key, value=value) for key, value in of_score.items()},
        )
        for name, of_score in metrics.items()
    ]
    scores[0].metrics |= {
        f"success/{name}": EvalMetric(name=name, group="success by type", value=value)
        for name, value in by_type.items()
    }
    return EvalResults(total_samples=len(samples), completed_samples=len(samples), scores=scores)


def _mean(values: Sequence[float]) -> float:
    return float(fmean(values)) if values else 0.0


def _result_of(recording: Recording, batch: Batch) -> Mapping[str, Any]:
    """The result of the evaluation that a batch belongs to; empty for training."""
    if batch.kind != "eval":
        return {}
    if not recording.is_run:
        return recording.result
    records = (record for record in recording.records() if record["update"] == batch.update)
    return next((record["evaluation"] for record in records if isinstance(record.get("evaluation"), dict)), {})


def _write(log: Any, path: Path) -> None:
    """Writes a log completely or not at all."""
    from inspect_ai.log import write_eval_log  # pyright: ignore[reportMissingImports]

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh_sibling(path) as fresh:
            write_eval_log(log, str(fresh / path.name))
            (fresh / path.name).replace(path)
    except OSError as error:
        raise RecordingError(f"The log {path} cannot be written: {error.strerror or first_line(error)}.") from error


def _encodable(value: Any) -> Any:
    """The value with lone surrogates replaced, which a model can write and UTF-8 cannot encode."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_encodable(inner) for inner in value]
    return value
