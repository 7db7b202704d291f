"""The virtio-mem device conformance suite: one rule of the specification, one check. And a differential fuzzer.

rules      every rule: number, section, strength, what it says
checks     one for each
bench      a device as a check has it in hands
subjects   what can be put there: our device, QEMU's
suite      run them all, rule by rule
fuzz       random moves on two devices, compared after each
moves      these moves
shapes     the malformed chains among them
hands      a driver and an owner that make them
log        what a real device was asked and answered, recorded
record     recording it
replay     the same asked of ours
formats    what was found, as JSON and JUnit XML
"""
