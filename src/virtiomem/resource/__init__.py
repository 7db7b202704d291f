"""The resource tree behind /proc/iomem. Models kernel/resource.c (Linux 6.1).

tree      claiming, inserting, releasing and moving ranges
node      one resource: a range with a name and the resources inside it
children  these, sorted and found by bisection
flags     IORESOURCE_* and IORES_DESC_*
merge     System RAM joined on hot-add and split on hot-remove
walk      searching for RAM, for a kind of memory, for what a range meets
allocate  finding a gap
iomem     the text of /proc/iomem, in and out
printed   a tree as that text
names     what a name in it says
spoiled   what was done to a name on its way here
meanings  from a name to flags and desc
"""
