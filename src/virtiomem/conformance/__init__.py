"""The virtio-mem device conformance suite: one rule of the specification, one check."""
