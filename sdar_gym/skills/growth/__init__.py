"""Growth of skill libraries: skills extracted from episodes by rules, skills written by an LLM, duplicate detection."""
