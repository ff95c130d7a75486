"""A fleet under faults: real gateway processes on a real PostgreSQL, what they believed, and whether they should have.

`python -m chaos --help` from gateway/tests, or `make chaos`.
"""
