"""What both ends share about Kafka: configuration, errors, topics, the client seam, and two brokers to start."""
