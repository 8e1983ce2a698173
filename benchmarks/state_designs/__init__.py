"""Ways to keep open sessions in Spark, each over the same topic, rules and decoder: `make bench-designs`.

- `driver`: the Spark driver that runs one of them
- `designs`: the ways, by name
- `per_key`: Python code of those whose key is a session
- `run`: runs them one after another and prints the table
"""
