"""Kafka without consuming: offsets, topics, and the connection's security."""
