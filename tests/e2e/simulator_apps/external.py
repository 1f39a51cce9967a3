"""An external extension; its arguments say what it does, and it notes all that it hears."""

import json
import os
import sys
import time

from endings import note
from extension_client import Client

_MODE = sys.argv[1]


def main():
    """Register and serve events, or fail to."""
    note(f"external starts in {os.getpid()}")
    if _MODE == "mute":
        time.sleep(3600)
    if _MODE == "exits":
        sys.stdout.write("the extension's last words")
        sys.exit(5)
    client = Client("stranger" if _MODE == "misnamed" else "external.py", ["INVOKE", "SHUTDOWN"])
    if _MODE == "misnamed":
        time.sleep(3600)
    if _MODE == "fails":
        client.fail("init")
    while True:
        event = client.next()
        note(f"external {json.dumps(event)}")
        if event["eventType"] == "SHUTDOWN":
            if _MODE == "stays":
                time.sleep(3600)
            note("external ends")
            return
        if _MODE == "dies":
            sys.exit(6)
        if _MODE == "works":
            time.sleep(0.1)
            note("external worked")


main()
