"""How many examples property tests take: as each says, and at least 2,000 in `make test-all`."""

import os

from hypothesis import settings

_LONG = 2000

settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("long", deadline=None, print_blob=True, max_examples=_LONG)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def examples(usual: int) -> int:
    """`usual`, or what the long profile takes where that is more."""
    return max(usual, _LONG) if os.environ.get("HYPOTHESIS_PROFILE") == "long" else usual
