"""The update without Ray: prepare, score, shape and collate the turns of an update."""
