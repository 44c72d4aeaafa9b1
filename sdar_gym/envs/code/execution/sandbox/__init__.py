"""Sandbox: what runs outside the trusted process, on the standard library alone.

The fork server imports this folder as a package named `sandbox`, so that nothing else of SDAR Gym is in the memory an
untrusted program can look through. Imports in here are relative, and go to the standard library otherwise.
"""
