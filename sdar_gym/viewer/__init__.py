"""Viewer: a page, a terminal view and an inspect log of the episodes in a run folder."""
