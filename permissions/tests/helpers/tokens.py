"""Clients of the API in the tests."""

from __future__ import annotations

import json

WRITER, READER = "writer-token-0123456789abcdef", "reader-token-0123456789abcdef"
TOKENS = json.dumps(
    [
        {"name": "deployer", "token": WRITER, "scopes": ["permissions:read", "permissions:write"]},
        {"name": "viewer", "token": READER, "scopes": ["permissions:read"]},
    ]
)
