"""Migration, as far as a virtio-mem device cares."""

IDLE = frozenset({"none", "cancelled", "completed", "failed"})
"""States in which a device plugs and unplugs; in all others it answers BUSY.

Models: migration_is_idle() in migration/migration.c (v7.2).
"""
