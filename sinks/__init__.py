"""Where verdicts and dead letters go."""
