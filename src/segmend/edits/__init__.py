"""Edits (merges and splits) and the sources they come from."""
