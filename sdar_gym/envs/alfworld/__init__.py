"""ALFWorld: text-based household tasks, with real or generated games, on a native engine."""
