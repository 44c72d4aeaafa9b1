"""Bounds of settings: values outside of them are mistakes on any machine."""

from __future__ import annotations

# Larger values would fill the memory or never end.
MOST_UPDATES = 1_000_000
MOST_EPISODES = 1_000_000
MOST_GROUPS = 10_000_000
MOST_TOKENS = 1_000_000
MOST_THREADS = 1_024
LARGEST_SEED = 2**32 - 1
# Sampling temperatures; 0 itself means greedy decoding.
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
    """Checks that a temperature is in the range in which sampling makes a difference.

    Raises:
        ValueError: It is too low or too high.
    """
    if not COOLEST <= value <= HOTTEST:
        raise ValueError(
            f"{name} must be from {COOLEST:g} to {HOTTEST:g}, got {value}: below, one token has all the probability; "
            "above, all tokens are equally likely."
        )
