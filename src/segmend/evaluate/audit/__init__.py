"""The leak audit: what of a benchmark's answers could be known without the skill it asks for."""
