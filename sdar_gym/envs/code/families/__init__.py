"""Families of generated programming tasks, one file each."""
