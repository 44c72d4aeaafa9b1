"""Families of generated problems, one file each."""
