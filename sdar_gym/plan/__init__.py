"""Cost plan of a run before it starts: tokens, operations, memory, seconds and GPU-hours."""
