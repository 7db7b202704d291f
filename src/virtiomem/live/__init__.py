"""A running Linux: what it says of its memory, collected and read back."""
