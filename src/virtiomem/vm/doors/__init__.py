"""Doors: the ways to reach a machine. Each is one module, which ends in one row of `registry.DOORS`.

A door reads the text behind its scheme once, into a target that can name itself and open a machine. Nothing outside this
package knows a scheme, a socket or what a hypervisor says. Behind every door stands a `model.Backend`, and a
`model.GuestView` where the guest has an agent.

================  =========================================================================================================
base              what a door is, what a target can do, and how a machine is to be opened
registry          the table of doors
address           paths and HOST:PORT
peer              a JSON peer on a socket, with bounds on everything it may do to us
sent              every command that is sent to a monitor or an agent; `peer` sends no other
qmp               ``qmp:``: QEMU, through its monitor
libvirt           ``libvirt:``: domains of libvirt
libvirt_domain    one of them behind `Backend`
libvirt_agent     its guest agent behind `GuestView`, asked through libvirt
libvirt_host      a connection to libvirt: its calls in threads, bounded in time, and its events
libvirt_xml       a domain's XML, read and written
firecracker       ``firecracker:``: a microVM, through its API
cloud_hypervisor  ``cloud-hypervisor:``: a VM, through its API
http              an HTTP API on a unix socket, with the same bounds
guest_agent       qemu-ga behind `GuestView`
agent_files       files of a guest, read through its agent
guest_files       a guest's files on this host, read as an agent would
sim               ``sim:``: a scenario, as if it were a machine
simulated         its guest behind `Backend` and `GuestView`: no machine at all, virtual time
================  =========================================================================================================
"""
