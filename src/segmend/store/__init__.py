"""Bytes: stores of objects, verified fetches, the cache, atomic files."""
