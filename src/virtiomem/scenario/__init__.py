"""Scenario files: TOML to values, run on any guest."""
