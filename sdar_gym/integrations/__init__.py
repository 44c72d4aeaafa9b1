"""Integrations: the environments in other packages' trainers. A module needs its package; the gym imports none."""
