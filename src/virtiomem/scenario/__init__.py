"""Scenario files: TOML to values, checked before anything runs, and played on any guest."""

from virtiomem.scenario.files import load, loads, to_dict
from virtiomem.scenario.layout import boot_listing
from virtiomem.scenario.play import OnStep, embedded_guest, play
from virtiomem.scenario.values import Scenario

__all__ = ["OnStep", "Scenario", "boot_listing", "embedded_guest", "load", "loads", "play", "to_dict"]
