"""One segment in the tissue: mesh, skeleton, contacts."""
