"""ALFWorld: household tasks in text, real games or generated ones, on a native engine."""
