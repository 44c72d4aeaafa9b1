"""Errors of the code pool."""

from __future__ import annotations


class IsolationUnavailableError(ValueError):
    """This system cannot isolate untrusted programs as was asked."""


class CodePoolError(RuntimeError):
    """A job could not be run, twice; nothing is known about its program."""


class CodePoolClosedError(CodePoolError):
    """The pool was closed."""
