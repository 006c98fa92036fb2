"""Contract suites, shipped for authors of plug-ins."""
