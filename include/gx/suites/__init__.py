"""One module a checked table, each with `build_suite()`."""
