"""Pictures of recordings and listings."""
