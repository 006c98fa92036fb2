"""What a model may see and must predict."""
