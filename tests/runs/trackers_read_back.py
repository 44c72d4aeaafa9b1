"""What trackers wrote, read back: `{name: {step: value}}`, from the files themselves."""

from __future__ import annotations

import json
import struct
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Values = dict[str, dict[int, float]]


def tensorboard_values(folder: Path) -> Values:
    """Scalars of all event files: records of length, checksum, content, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for file in sorted(folder.glob("events.out.tfevents.*")):
        content, at = file.read_bytes(), 0
        while at < len(content):
            [length] = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    assert event.step not in found[value.tag], f"{value.tag} twice at {event.step}"
                    found[value.tag][event.step] = value.simple_value
    return dict(found)


def wandb_values(folder: Path) -> tuple[Values, dict[str, Any]]:
    """The rows and the configuration of the offline runs in a folder, in the order of their sessions."""
    from wandb.proto import wandb_internal_pb2  # pyright: ignore[reportMissingImports]

    found: defaultdict[str, dict[int, float]] = defaultdict(dict)
    config: dict[str, Any] = {}
    for file in sorted(folder.glob("offline-run-*/*.wandb"), key=lambda file: file.stat().st_ctime_ns):
        records: list[Any] = []
        # A process of W&B writes the file, and may still do so when the run has ended.
        for _ in range(100):
            records = [wandb_internal_pb2.Record.FromString(content) for content in _log_records(file.read_bytes())]
            if records and records[-1].WhichOneof("record_type") == "exit":
                break
            time.sleep(0.1)
        for record in records:
            for update in (*record.run.config.update, *record.config.update):
                config[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for name, value in row.items():
                if not name.startswith("_"):
                    assert row["_step"] not in found[name], f"{name} twice at {row['_step']}"
                    found[name][row["_step"]] = value
    return dict(found), config


def _log_records(content: bytes, block: int = 32_768) -> Iterator[bytes]:
    """Records of a log in LevelDB's form: blocks of pieces with checksum, length and whether more follows."""
    at, record = 7, b""  # After the file's own head.
    while at + 7 <= len(content):
        if block - at % block < 7:  # The end of a block is padded where no head has room.
            at += block - at % block
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        if at + 7 + length > len(content):  # It is being written.
            return
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # A whole record, or its last piece.
            yield record
            record = b""


def mlflow_values(uri: str, run: str) -> tuple[Values, Any]:
    """All metrics of the MLflow run that has our run's id, and the MLflow run."""
    from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("sdar-gym")
    [tracked] = client.search_runs([experiment.experiment_id], f"tags.`sdar_gym.run` = '{run}'")
    found = {}
    for name in tracked.data.metrics:
        history = client.get_metric_history(tracked.info.run_id, name)
        found[name] = {metric.step: metric.value for metric in history}
        assert len(history) == len(found[name]), f"{name} twice at a step"
    return found, tracked
