"""Scenario files: TOML to values, checked before anything runs, and played on any guest.

values      a scenario
toml_file   TOML in, and the dictionary that travels along in a recording
complaints  complaints in TOML's words
checks      what no scenario can be
limits      how much a scenario may ask for
layout      the boot listing of a pc or q35
virt_layout  that of a `virt`
play        on a guest, kept as a recording
golden      played again, and compared with the recording next to it
golden_jobs  several of these at a time
golden_formats  the results as JSON, JUnit XML and a badge
"""

from virtiomem.scenario.layout import boot_listing
from virtiomem.scenario.play import OnStep, embedded_guest, like, play, play_again
from virtiomem.scenario.toml_file import load, loads, to_dict
from virtiomem.scenario.values import Scenario

__all__ = [
    "OnStep",
    "Scenario",
    "boot_listing",
    "embedded_guest",
    "like",
    "load",
    "loads",
    "play",
    "play_again",
    "to_dict",
]
