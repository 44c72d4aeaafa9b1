"""Trackers: TensorBoard, W&B and MLflow get the lines of `metrics.jsonl`, flat and by the same names."""

from sdar_gym.runs.trackers.tracker import TrackedRun
from sdar_gym.runs.trackers.tracking import Tracking, TrackingWarning, check_trackers

__all__ = ["TrackedRun", "Tracking", "TrackingWarning", "check_trackers"]
