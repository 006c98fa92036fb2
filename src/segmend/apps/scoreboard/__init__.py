"""Results and leaderboards as files."""
