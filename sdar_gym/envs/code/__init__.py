"""Code, the environment of Python programming tasks with public and hidden tests."""
