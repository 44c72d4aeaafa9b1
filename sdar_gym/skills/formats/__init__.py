"""File formats of skill libraries: Markdown (read and written) and importers of the published JSON and SDAR formats."""
