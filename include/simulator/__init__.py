"""Simulated readers, and the Kafka producer that sends what they do."""
