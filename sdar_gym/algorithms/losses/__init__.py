"""Pure functions of tensors: losses, advantages, divergences and their reductions."""
