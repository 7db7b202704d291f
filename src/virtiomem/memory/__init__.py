"""The memory hot(un)plug core. Models mm/memory_hotplug.c and drivers/base/memory.c (Linux 6.1)."""
