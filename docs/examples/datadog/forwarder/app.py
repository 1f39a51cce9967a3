"""An image function whose traces the Datadog Forwarder reads from its log."""

from aws_cdk import App, CfnOutput, CfnParameter, Duration, Stack
from aws_cdk.aws_apigatewayv2 import HttpApi
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from aws_cdk.aws_ecr import Repository
from aws_cdk.aws_lambda import DockerImageCode, DockerImageFunction
from aws_cdk.aws_logs import CfnSubscriptionFilter, LogGroup, RetentionDays

app = App()
stack = Stack(app, "ShopForwarder")


def parameter(name: str, description: str) -> str:
    """Ask for a value at deployment."""
    return CfnParameter(stack, name, description=description).value_as_string


repository = Repository.from_repository_name(
    stack, "Repository", parameter("ImageRepository", "Name of the ECR repository with the app's image")
)
image = DockerImageCode.from_ecr(repository, tag_or_digest=parameter("ImageTag", "Tag of the image"))
log = LogGroup(stack, "ShopLog", retention=RetentionDays.ONE_WEEK)
CfnSubscriptionFilter(
    stack,
    "ShopLogToDatadog",
    log_group_name=log.log_group_name,
    filter_pattern="",
    destination_arn=parameter("ForwarderArn", "ARN of the Datadog Forwarder in this account and region"),
)

function = DockerImageFunction(
    stack,
    "Shop",
    code=image,
    memory_size=1024,
    timeout=Duration.seconds(30),
    log_group=log,
    environment={
        "AWS_LWA_READINESS_CHECK_PATH": "/health",
        "DD_SERVICE": "shop",
        "DD_ENV": "prod",
        "DD_VERSION": "1",
    },
)

api = HttpApi(stack, "Api", default_integration=HttpLambdaIntegration("ToShop", function))
CfnOutput(stack, "Url", value=api.api_endpoint)
app.synth()
