"""Sweeps: one scenario or workload, played with many parameters and seeds, and what that says about a choice.

values      the tables of a sweep file
parameters  names and values of what is varied, and every combination of them
trace       a CSV file of sizes over time
workload    processes that come and go, as the steps of a scenario
definition  a sweep as bytes: for workers, and for the rows
sweep       a sweep file read: run N is a scenario
outcome     one run played: a row
rows        the columns of a row; rows to CSV and Parquet, and read again
journal     rows as they come, on disk, until all are there
engines     who plays: this process, a pool of processes, Dask
play        all runs, on an engine, kept
median      medians, with the interval that a bootstrap gives
summary     medians of each point, and which differences between choices are there
page        the summary as one HTML file with pictures
observe     real guests under a workload, and what was seen of their memory
calibrate   the workload model's parameters, from real guests
"""

from virtiomem.sweep.engines import Engine, in_pool, in_process, on_dask
from virtiomem.sweep.outcome import play as play_run
from virtiomem.sweep.play import run
from virtiomem.sweep.rows import Rows
from virtiomem.sweep.summary import Summary, summarize
from virtiomem.sweep.sweep import Sweep, load, loads

__all__ = [
    "Engine",
    "Rows",
    "Summary",
    "Sweep",
    "in_pool",
    "in_process",
    "load",
    "loads",
    "on_dask",
    "play_run",
    "run",
    "summarize",
]
