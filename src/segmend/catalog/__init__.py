"""Data sets as records, and one meaning for their labels."""
