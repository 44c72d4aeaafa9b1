"""Search-QA: questions that are answered by searching passages over several turns."""
