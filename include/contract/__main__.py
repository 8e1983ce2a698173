"""`python -m include.contract`: print the JSON Schema of an event."""

import json
import sys

from include.contract.derive import json_schema


def main() -> int:
    """Print the schema, keys sorted so that a diff shows changes only."""
    sys.stdout.write(json.dumps(json_schema(), indent=2, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
