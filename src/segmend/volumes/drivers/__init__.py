"""One driver per file format."""
