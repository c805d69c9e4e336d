"""Content addresses: a hash of canonical JSON, whose format has a version."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# Raised when the way a key is made changes: every artifact is then made anew.
KEY_FORMAT = 1


def canonical(content: Any) -> str:
    """JSON with sorted keys and no spaces; NaN and types that JSON lacks are refused."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(content: Any) -> str:
    """SHA-256 of :func:`canonical`, in hexadecimal."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()
