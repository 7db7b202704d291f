"""Ranges that a crash dump will hold, from an iomem tree.

ranges       crash ranges, as the kernel and as kexec-tools work them out
elfcore      the ELF core header that says them
room         what a kernel sets aside for it
kept         the header in a running kernel's memory, and what becomes of it
loader       makers of a header
reservation  what is reserved for a crash kernel, and what is wrong with it
placement    where an ordinary image goes, instead of a crash kernel's
standing     that header against the map: what it lacks, what it has too many of
comparison   what one list of ranges has and another has not
range_text, standing_text  all of it as text and JSON
"""
