"""Tools over /proc/iomem listings.

repair      a damaged listing read, and what was put right
rebuild     how that is done
damage      the kinds of damage, and what was made of each
lines       its lines, in whatever spelling they were pasted
undo        what was put around and between them, undone
diff        what changed between two, by meaning
check       what a map costs those who read it
guess       which architecture a map is of
ram         what counts as System RAM, and where it comes from
watch       what changes, as it changes
map_tables  a map as a table and as JSON
"""
