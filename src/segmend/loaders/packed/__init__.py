"""A lossless re-encoding of a benchmark for training (`docs/loaders.md`)."""
