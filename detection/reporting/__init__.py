"""The report of a day: what was decided, what it was worth, and what has changed."""
