"""The domain: packs, expressions, windows, rules, verdicts.

Imports neither Bytewax nor Kafka, reads no clock, opens no connection.
"""
