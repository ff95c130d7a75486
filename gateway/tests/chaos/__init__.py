"""Elections under faults: real gateway processes on a real PostgreSQL, and a check of what each one believed.

`python -m chaos --help` from gateway/tests, or `make chaos`.
"""
