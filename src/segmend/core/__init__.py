"""Values and rules: numpy only, no input or output."""
