"""Code: programs written by the model, run on tests."""
