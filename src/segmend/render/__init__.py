"""Cameras, z-buffer rasteriser, named channels, EM slices, split masks."""
