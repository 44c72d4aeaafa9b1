"""Code: programming tasks, whose programs are run on tests in a sandbox."""
