"""A set-up from wishes: how large what has to be so that a guest can grow and shrink as wished, and what makes it impossible.

wishes         what is wished for
setup          what follows from it, worked out with the embedded guest; refusals with the one number that makes it so
address_space  how many address bits QEMU's machine needs
scenario_text  a guest, devices and steps as a scenario
output         as a table, JSON, QEMU's arguments, libvirt's XML, a kernel command line, a scenario
proof          played on a guest
"""
