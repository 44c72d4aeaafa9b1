"""Reports: what a run shows of itself."""
