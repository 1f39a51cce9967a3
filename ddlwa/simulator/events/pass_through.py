"""Events of AWS services that ask for no HTTP response, as samples to invoke a function with."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

__all__ = ["dynamodb", "eventbridge", "kinesis", "s3", "sns", "sqs"]

_REGION, _ACCOUNT = "us-east-1", "123456789012"
_NOW_MS = 1_767_225_600_000  # 2026-01-01
_ID = "00000000-0000-4000-8000-{:012d}"


def sqs(*bodies: str, queue: str = "orders", now_ms: int = _NOW_MS) -> dict[str, Any]:
    """Return the event of messages of an SQS queue.

    Source: AWS Lambda Developer Guide, "Using Lambda with Amazon SQS".

    Args:
        bodies: The messages' bodies.
        queue: The queue's name.
        now_ms: When they were sent, in milliseconds since the epoch.
    """
    return {
        "Records": [
            {
                "messageId": _ID.format(number),
                "receiptHandle": f"ddlwaAQEB{number}==",
                "body": body,
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "SentTimestamp": str(now_ms),
                    "SenderId": "AIDADDLWA",
                    "ApproximateFirstReceiveTimestamp": str(now_ms + 1),
                },
                "messageAttributes": {},
                "md5OfBody": "00000000000000000000000000000000",
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{_REGION}:{_ACCOUNT}:{queue}",
                "awsRegion": _REGION,
            }
            for number, body in enumerate(bodies)
        ]
    }


def sns(*messages: str, topic: str = "orders", now_ms: int = _NOW_MS) -> dict[str, Any]:
    """Return the event of messages of an SNS topic.

    Source: AWS Lambda Developer Guide, "Invoking Lambda functions with Amazon SNS notifications".

    Args:
        messages: The messages' texts.
        topic: The topic's name.
        now_ms: When they were published, in milliseconds since the epoch.
    """
    arn = f"arn:aws:sns:{_REGION}:{_ACCOUNT}:{topic}"
    return {
        "Records": [
            {
                "EventVersion": "1.0",
                "EventSubscriptionArn": f"{arn}:{_ID.format(0)}",
                "EventSource": "aws:sns",
                "Sns": {
                    "SignatureVersion": "1",
                    "Timestamp": _iso(now_ms),
                    "Signature": "ZGRsd2E=",
                    "SigningCertUrl": f"https://sns.{_REGION}.amazonaws.com/SimpleNotificationService.pem",
                    "MessageId": _ID.format(number),
                    "Message": message,
                    "MessageAttributes": {},
                    "Type": "Notification",
                    "UnsubscribeUrl": f"https://sns.{_REGION}.amazonaws.com/?Action=Unsubscribe",
                    "TopicArn": arn,
                    "Subject": None,
                },
            }
            for number, message in enumerate(messages)
        ]
    }


def s3(*keys: str, bucket: str = "uploads", now_ms: int = _NOW_MS) -> dict[str, Any]:
    """Return the event of objects that were put into an S3 bucket.

    Source: Amazon S3 User Guide, "Event message structure".

    Args:
        keys: The objects' keys, as they are in the event, percent-encoded.
        bucket: The bucket's name.
        now_ms: When they were put, in milliseconds since the epoch.
    """
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": _REGION,
                "eventTime": _iso(now_ms),
                "eventName": "ObjectCreated:Put",
                "userIdentity": {"principalId": "AWS:AIDADDLWA"},
                "requestParameters": {"sourceIPAddress": "203.0.113.7"},
                "responseElements": {"x-amz-request-id": "DDLWA00000000000", "x-amz-id-2": "ZGRsd2E="},
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": "ddlwa",
                    "bucket": {
                        "name": bucket,
                        "ownerIdentity": {"principalId": "A0DDLWA"},
                        "arn": f"arn:aws:s3:::{bucket}",
                    },
                    "object": {
                        "key": key,
                        "size": 1024,
                        "eTag": "00000000000000000000000000000000",
                        "sequencer": f"{number:016X}",
                    },
                },
            }
            for number, key in enumerate(keys)
        ]
    }


def eventbridge(
    detail: dict[str, Any],
    *,
    detail_type: str = "Order placed",
    source: str = "shop.orders",
    now_ms: int = _NOW_MS,
) -> dict[str, Any]:
    """Return an EventBridge event.

    Source: Amazon EventBridge User Guide, "Events".

    Args:
        detail: What the event is about.
        detail_type: Its kind.
        source: Who sent it.
        now_ms: When, in milliseconds since the epoch.
    """
    return {
        "version": "0",
        "id": _ID.format(0),
        "detail-type": detail_type,
        "source": source,
        "account": _ACCOUNT,
        "time": f"{_iso(now_ms)[:19]}Z",
        "region": _REGION,
        "resources": [],
        "detail": detail,
    }


def dynamodb(*images: dict[str, Any], table: str = "orders", now_ms: int = _NOW_MS) -> dict[str, Any]:
    """Return the event of items that were inserted into a DynamoDB table with a stream.

    Source: AWS Lambda Developer Guide, "Using AWS Lambda with Amazon DynamoDB".

    Args:
        images: The new items in DynamoDB's notation, such as ``{"id": {"N": "1"}}``; the first
            attribute is the key.
        table: The table's name.
        now_ms: When they were inserted, in milliseconds since the epoch.
    """
    return {
        "Records": [
            {
                "eventID": f"{number:032x}",
                "eventName": "INSERT",
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": _REGION,
                "dynamodb": {
                    "ApproximateCreationDateTime": now_ms / 1000,
                    "Keys": dict(list(image.items())[:1]),
                    "NewImage": image,
                    "SequenceNumber": f"{100 + number}",
                    "SizeBytes": len(json.dumps(image)),
                    "StreamViewType": "NEW_AND_OLD_IMAGES",
                },
                "eventSourceARN": (
                    f"arn:aws:dynamodb:{_REGION}:{_ACCOUNT}:table/{table}/stream/{_iso(now_ms)[:23]}"
                ),
            }
            for number, image in enumerate(images)
        ]
    }


def kinesis(*data: bytes, stream: str = "orders", now_ms: int = _NOW_MS) -> dict[str, Any]:
    """Return the event of records of a Kinesis data stream.

    Source: AWS Lambda Developer Guide, "Using Lambda to process records from Amazon Kinesis Data Streams".

    Args:
        data: The records' data.
        stream: The stream's name.
        now_ms: When they arrived, in milliseconds since the epoch.
    """
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "1",
                    "sequenceNumber": f"{49590338271490256608559692538361571095921575989136588898 + number}",
                    "data": base64.b64encode(one).decode("ascii"),
                    "approximateArrivalTimestamp": now_ms / 1000,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"shardId-000000000006:{number}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": f"arn:aws:iam::{_ACCOUNT}:role/ddlwa-check",
                "awsRegion": _REGION,
                "eventSourceARN": f"arn:aws:kinesis:{_REGION}:{_ACCOUNT}:stream/{stream}",
            }
            for number, one in enumerate(data)
        ]
    }


def _iso(epoch_ms: int) -> str:
    seconds, milliseconds = divmod(epoch_ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"
