"""A box of a volume, copied to this machine in a format that other tools read."""
