"""Review: people say which verdicts were right, and what they say is kept as labels and as an audit."""
