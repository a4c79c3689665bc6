"""What plugins/abi declares, from the program //tests/tensorrt:abi_facts."""

from __future__ import annotations

import functools
import json
import subprocess


@functools.cache
def declared() -> dict:
    """Groups "slots", "layouts" and "enums": name -> member -> slot, byte offset or value."""
    command = ["tests/tensorrt/abi_facts"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
