"""Errors for models that cannot be loaded or used as a policy."""

from __future__ import annotations


class PolicyLoadError(ValueError):
    """A model that is missing or cannot be used as a policy."""


class NonFiniteWeightsError(PolicyLoadError):
    """Weights or logits of a model that are not finite."""


def failed(name: str, part: str, reason: str) -> PolicyLoadError:
    """The `PolicyLoadError` for a part that could not be loaded."""
    return PolicyLoadError(
        f"Could not load the {part} of {name!r}: {reason} Name a saved folder, a built-in policy (builtin:tiny), or a "
        "hub model while the hub can be reached."
    )
