"""Search-QA: question answering with passage search over several turns."""
