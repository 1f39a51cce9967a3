"""Handlers for AWS's own runtime, awslambdaric."""

import json
import os
import time


def echo(event, context):
    """Answer with what the runtime was told."""
    told = {
        "event": event,
        "request_id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "left_ms": context.get_remaining_time_in_millis(),
        "trace_id": os.environ.get("_X_AMZN_TRACE_ID"),
        "memory": context.memory_limit_in_mb,
        "tenant_id": context.tenant_id,
        "now_ns": time.time_ns(),
        "pid": os.getpid(),
    }
    if event["rawPath"] == "/raise":
        raise ValueError("the handler's own reason")
    if event["rawPath"] == "/slow":
        time.sleep(0.3)
    if event["rawPath"] == "/never":
        time.sleep(3600)
    return {"statusCode": 200, "body": json.dumps(told)}
