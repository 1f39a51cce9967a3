"""A client of the Extensions API, as small as can be."""

import http.client
import json
import os

_BASE = "/2020-01-01/extension"


class Client:
    """One extension.

    Args:
        name: The name to register under.
        events: The events to register for.
    """

    def __init__(self, name, events):
        self.status, self.answer, headers = _ask(
            "POST", "register", {"Lambda-Extension-Name": name}, {"events": events}
        )
        self._headers = {"Lambda-Extension-Identifier": headers.get("Lambda-Extension-Identifier", "")}

    def next(self):
        """Wait for the next event."""
        return _ask("GET", "event/next", self._headers)[1]

    def fail(self, phase):
        """Report an error of a phase, "init" or "exit"."""
        headers = {**self._headers, "Lambda-Extension-Function-Error-Type": "Extension.Broken"}
        return _ask("POST", f"{phase}/error", headers, {"errorMessage": "broken", "errorType": "T"})[0]


def _ask(method, path, headers, body=None):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, f"{_BASE}/{path}", body and json.dumps(body), headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer, response.headers
