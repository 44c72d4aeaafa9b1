"""Reports of a run: learning curve and token dumps."""
