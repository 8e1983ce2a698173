"""`python -m include.simulator`."""

import sys

from include.simulator.cli import main

if __name__ == "__main__":
    sys.exit(main())
