"""The dataflows: everything that knows Bytewax's operators."""
