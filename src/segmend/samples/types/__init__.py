"""The five sample types, one file each."""
