"""Families of embedded problems: arithmetic, algebra, number theory, counting."""
