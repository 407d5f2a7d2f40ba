"""Which sources fail, lie or are slow."""
