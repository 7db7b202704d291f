"""The resource tree behind /proc/iomem. Models kernel/resource.c (Linux 6.1)."""
