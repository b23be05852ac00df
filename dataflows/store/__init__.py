"""The recovery store: whose it is, whether it may be gone on from, and what else is kept in its folder."""
