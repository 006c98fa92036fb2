"""Decoders of chunks."""
