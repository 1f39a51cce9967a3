"""A server that ignores SIGTERM."""

import contextlib
import signal
import sys

import uvicorn

signal.signal(signal.SIGTERM, signal.SIG_IGN)
config = uvicorn.Config("endings:app", port=int(sys.argv[1]), lifespan="off", log_level="warning")
server = uvicorn.Server(config)
server.capture_signals = contextlib.nullcontext
server.run()
