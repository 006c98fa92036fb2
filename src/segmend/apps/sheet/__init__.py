"""A contact sheet: one site as a picture that a person can read."""
