"""Volumes: lazy labelled arrays in space, whatever the file format."""
