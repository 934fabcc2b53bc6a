"""Run by `by_apprise` as a program of its own: tells by apprise what is on stdin, and exits with how that went.

Nothing of rebatch is imported here. Its output goes nowhere.
"""

from __future__ import annotations

import json
import sys
from typing import Any

# Exit codes that nothing else has: 0 would also be that of a plugin which ends the process.
DELIVERED = 70
NOT_DELIVERED = 71
NO_ADDRESS = 72
NOT_INSTALLED = 73
_OFF = ("http_redirects", "pgp_autogen", "pem_autogen")  # following a redirect with a secret; keys written to disk


def tell(errand: dict[str, Any]) -> int:
    """Tell it, and keep nothing on disk. `type` is info, success, warning or failure."""
    try:
        import apprise  # noqa: PLC0415 - an extra
    except ImportError:
        return NOT_INSTALLED
    asset = apprise.AppriseAsset(storage_mode="memory", async_mode=False)
    for name in _OFF:  # set here, since older ones know some of these not, and refuse them
        setattr(asset, name, False)
    receiver = apprise.Apprise.instantiate(errand["address"], asset=asset)  # one address; `add` would take a list
    if receiver is None:
        return NO_ADDRESS
    all_of_them = apprise.Apprise(receiver, asset=asset)
    told = all_of_them.notify(
        body=errand["body"], title=errand["title"], notify_type=errand["type"], body_format=apprise.NotifyFormat.TEXT
    )
    return DELIVERED if told else NOT_DELIVERED


if __name__ == "__main__":
    sys.exit(tell(json.load(sys.stdin)))
