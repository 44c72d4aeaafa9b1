"""Reproduction studies: methods compared on small policies, with paired seeds, by one command."""
