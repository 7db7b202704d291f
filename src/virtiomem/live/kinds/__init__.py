"""Kinds of input that describe a Linux's memory: each is recognised by its content, and read as a capture.

table        all kinds: how one is recognised, what it gives, which commands take it
values       what a kind's reader gives
block_table  the output of lsmem, in every style
free_pages   /proc/zoneinfo, /proc/buddyinfo, /proc/pagetypeinfo
kernel_log   dmesg, journals, consoles: what virtio_mem and memory hotplug said
monitor      a QEMU monitor's answers, QMP and HMP
domain_xml   libvirt's domains
core         ELF core files, and what readelf says about one
crash_dump   makedumpfile's dumps, compressed and flattened
folder       a folder of a machine's files, as sosreport makes it
resources    maps in the tables of other tools: jc, crash, volatility
"""
