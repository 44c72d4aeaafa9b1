"""Retrieval strategies: task type, BM25, keywords, UCB, and the controls full, random and none; one file each."""
