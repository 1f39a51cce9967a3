"""The function that a sandbox pretends to be, with the variables that Lambda sets for it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Function"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A Lambda function's configuration.

    Args:
        name: The function's name.
        memory_mb: Its memory, in MiB.
        timeout_s: Its timeout, in seconds.
        region: The AWS region.
        account: The AWS account's id.
        version: The function's version.
        handler: What the function is configured to run; a web app behind the adapter is started by a script.
    """

    name: str
    memory_mb: int
    timeout_s: float
    region: str = "us-east-1"
    account: str = "123456789012"
    version: str = "$LATEST"
    handler: str = "run.sh"

    @property
    def arn(self) -> str:
        """The invoked function's ARN."""
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{self.name}"

    @property
    def log_group(self) -> str:
        """The name of its log group."""
        return f"/aws/lambda/{self.name}"

    @property
    def log_stream(self) -> str:
        """The name of the sandbox's log stream."""
        return f"2026/01/01/[{self.version}]0123456789abcdef0123456789abcdef"

    def variables(self, *, runtime_api: str) -> dict[str, str]:
        """Return the variables of the runtime's process.

        Source: AWS Lambda Developer Guide, "Defined runtime environment variables".

        Args:
            runtime_api: Host and port of the Runtime API.
        """
        return {
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": self.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            "AWS_LAMBDA_LOG_GROUP_NAME": self.log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": self.log_stream,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "LAMBDA_TASK_ROOT": "/var/task",
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "_HANDLER": self.handler,
            "TZ": ":UTC",
        }
