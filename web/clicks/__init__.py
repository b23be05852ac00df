"""The click page: a button, its count, and a click on Kafka for each press."""
