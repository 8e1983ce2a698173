"""Great Expectations: suites (one module a table), the checkpoint that composes them, what its results mean.

Python is the only truth; nothing is built while a DAG file is parsed, so Great Expectations is imported
inside functions. Suites are derived from `include.contract` where the contract already says it.
"""
