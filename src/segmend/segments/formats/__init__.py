"""Parsers of mesh files from strangers: bytes in, triangles or a named error out."""
