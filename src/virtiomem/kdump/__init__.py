"""Crash ranges and the ELF core header from an iomem tree."""
