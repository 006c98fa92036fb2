"""Plan to committed shards."""
