"""segmend: data, benchmarks and models for proofreading electron-microscopy segmentations."""

__version__ = "0.1.0"
