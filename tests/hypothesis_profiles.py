"""How many examples property tests take: as each says, and at least 2,000 in `make test-all`."""

import os

from hypothesis import settings


def load_profile() -> None:
    """The one that HYPOTHESIS_PROFILE names; before any property test is collected."""
    settings.register_profile("default", deadline=None, print_blob=True)
    settings.register_profile("long", deadline=None, print_blob=True, max_examples=2000)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def examples(usual: int) -> int:
    """`usual`, or what the profile takes where that is more."""
    return max(usual, settings().max_examples)
