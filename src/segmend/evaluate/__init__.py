"""Predictions to scores with intervals."""
