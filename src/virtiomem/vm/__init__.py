"""Running virtual machines behind one backend interface: watch, resize, wait, explain.

The model is neutral (`model`): a backend says how big things are, takes a requested-size, and tells when something may
have moved. What to do about it is pure arithmetic (`plan`, `progress`, `explain`); `resize` and `watch` are the only loops.
Everything here that waits is asyncio.

=============== ========================================================================================================
model           the neutral model: devices, machine, the rest of a hypervisor, events; the `Backend` and `GuestView` protocols
doors           how machines are reached: a table of schemes, a module each
connect         which machines are meant: connections, names from the configuration; opening many at once
inside          what a guest says about itself, and how its files are read
facts           all that is known of a machine, as one value
drivers         whether a driver is there, as the guest tells it
concurrency     many questions at once, and none left behind
target          which machines and devices are meant
preflight       what speaks against a resize beforehand
plan            how a wished size is spread over devices
timer           the Linux driver's retry timer, as seen from outside
steps           how much of a growth the guest can pay for now
progress        how far a resize is, how fast, and whether it has stalled
progress_text   the same in words
results         what a resize is asked and what it answers
resize          set, wait, re-dispatch, roll back
attach          adding and removing devices
fleet           one resize of many machines
explain         why a device is not at its requested size: facts, likely reasons, what is not known
held_pages      what the pages of memory blocks say about why they cannot go
captured        the same by a capture alone, and how far memory has come
watch           many machines over time
metrics         the same for Prometheus
tables          tables, JSON and words
terminal        live pictures
hook            a machine's requested size, for callers without asyncio
commands        the verbs of `virtiomem vm`
attach_verbs    those that add or remove a device
resize_verb     the one that resizes
=============== ========================================================================================================
"""
