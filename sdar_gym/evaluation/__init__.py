"""Evaluation: results on frozen panels, with the settings they depend on and with intervals."""
