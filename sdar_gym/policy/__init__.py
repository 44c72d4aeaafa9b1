"""Policies: loading language models and tokenizers, log-probabilities, and the tiny policy that trains on a laptop."""
