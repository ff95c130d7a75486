"""Shared parts of the tests: private servers, gateways as processes, instances that record what they believe."""
