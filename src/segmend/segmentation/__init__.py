"""Segmenting volumes: a small network, predictions tile by tile, decoding to segments, scores."""
