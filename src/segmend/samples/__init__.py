"""Questions without pixels: candidates of the five sample types, and their splits."""
