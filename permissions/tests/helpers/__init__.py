"""Shared parts of the tests: the service as a process, and events for it."""
