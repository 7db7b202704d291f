"""The virtio-mem device conformance suite: one rule of the specification, one check. And a differential fuzzer.

rules             every rule: number, section, strength, what it says
checks            one check for each rule
testbench         a device as a check sees and drives it, with notes of all it did
targets           what can be tested: our device, QEMU's
subject           a target by its name: MODULE:FACTORY
messages          devices that are given messages: objects, and child processes that speak JSON lines
child             a child process of the user's: its start, its end, its last words
vmm               a VMM that boots a guest with our hands in it
booted            the device that a VMM gives its guests, by hands in one of them
consoles          the console of a guest as a connection
suite             every check run, rule by rule
fuzz              random moves on two devices, compared after each
moves             random moves, from a seed
policies          what QEMU's device does in its own way, and a model that follows another device in it
malformed_chains  chains that break the virtqueue rules
scripted_driver   a driver and an owner that do what a log says
log               request logs: what a real device was asked and answered, recorded
record            request logs recorded from a real device
replay            request logs replayed on our device
against           what changed since a report that was kept
retrace           the moves of a request log, on a device and on the model that follows it
formats           what was found, as JSON and JUnit XML
"""
