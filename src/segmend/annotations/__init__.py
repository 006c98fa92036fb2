"""Files that people and repositories write beside volumes: NML, SWC, the L4dense2019 tables."""
