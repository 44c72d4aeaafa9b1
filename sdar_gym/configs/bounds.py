"""Bounds of settings beyond which a value is a mistake on any machine."""

from __future__ import annotations

# Larger values would fill the memory or never end.
MOST_UPDATES = 1_000_000
MOST_EPISODES = 1_000_000
MOST_GROUPS = 10_000_000
MOST_TOKENS = 1_000_000
MOST_THREADS = 1_024
LARGEST_SEED = 2**32 - 1
# Below this, only one token has a probability above 0; 0 itself means the most likely token.
COOLEST, HOTTEST = 0.01, 100.0
# Arguments that the gym passes to a chat template itself, or that would replace the template or its result.
RESERVED_KWARGS = frozenset(
    [
        "add_generation_prompt",
        "continue_final_message",
        "conversation",
        "conversations",
        "max_length",
        "messages",
        "padding",
        "processor_kwargs",
        "text",
        "tokenize",
        "tokenizer",
        "tokenizer_kwargs",
        "truncation",
    ]
)


def sampling_temperature(name: str, value: float) -> None:
    """Refuses a temperature above 0 that is too extreme to sample at."""
    if not COOLEST <= value <= HOTTEST:
        raise ValueError(f"{name} must be from {COOLEST:g} to {HOTTEST:g}, got {value}: beyond, nothing is sampled.")
