"""Proofs by counting: faults injected into a real Kafka and real processes, and what became of each record.

See docs/proofs.md.
"""
