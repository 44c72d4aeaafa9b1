"""Settings of a loss as plain data; importing them needs no torch."""
