#!/bin/sh
# The handler of a zip function: the adapter's layer starts it in place of Lambda's Python runtime.
# The packages lie beside the code, where neither PATH nor a starting Python looks for them.
export PYTHONPATH="$LAMBDA_TASK_ROOT${PYTHONPATH:+:$PYTHONPATH}"
exec python -m ddlwa.run python -m uvicorn main:app --port "${AWS_LWA_PORT:-8080}"
