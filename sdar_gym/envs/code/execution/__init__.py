"""Execution of untrusted Python programs: a pool of sandboxes, their isolation, and what a program is asked."""

from .errors import CodePoolClosedError, CodePoolError, IsolationUnavailableError
from .isolation import Isolation, IsolationReport, probe_isolation
from .job import Call, FunctionCall, Job, JobResult, Limits, Status, StdinCall, TestResult
from .pool import CodePool, PoolStatistics, shared_pool

__all__ = [
    "Call",
    "CodePool",
    "CodePoolClosedError",
    "CodePoolError",
    "FunctionCall",
    "Isolation",
    "IsolationReport",
    "IsolationUnavailableError",
    "Job",
    "JobResult",
    "Limits",
    "PoolStatistics",
    "Status",
    "StdinCall",
    "TestResult",
    "probe_isolation",
    "shared_pool",
]
