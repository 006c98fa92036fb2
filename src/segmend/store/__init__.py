"""Bytes: atomic files and checksums."""
