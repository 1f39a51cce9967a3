"""An image function with the Datadog extension, through which the adapter reaches Lambda."""

from aws_cdk import App, CfnOutput, CfnParameter, Duration, Stack
from aws_cdk.aws_apigatewayv2 import HttpApi
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from aws_cdk.aws_ecr import Repository
from aws_cdk.aws_lambda import DockerImageCode, DockerImageFunction
from aws_cdk.aws_secretsmanager import Secret

app = App()
stack = Stack(app, "ShopExtensionProxy")


def parameter(name: str, description: str) -> str:
    """Ask for a value at deployment."""
    return CfnParameter(stack, name, description=description).value_as_string


repository = Repository.from_repository_name(
    stack, "Repository", parameter("ImageRepository", "Name of the ECR repository with the app's image")
)
image = DockerImageCode.from_ecr(repository, tag_or_digest=parameter("ImageTag", "Tag of the image"))
api_key_arn = parameter("DatadogKeyArn", "ARN of the secret that holds the Datadog API key")

function = DockerImageFunction(
    stack,
    "Shop",
    code=image,
    memory_size=1024,
    timeout=Duration.seconds(30),
    environment={
        "AWS_LWA_READINESS_CHECK_PATH": "/health",
        "AWS_LWA_LAMBDA_RUNTIME_API_PROXY": "127.0.0.1:9002",
        "DD_API_KEY_SECRET_ARN": api_key_arn,
        "DD_SITE": "datadoghq.com",
        "DD_SERVICE": "shop",
        "DD_ENV": "prod",
        "DD_VERSION": "1",
    },
)
Secret.from_secret_complete_arn(stack, "ApiKey", api_key_arn).grant_read(function)

api = HttpApi(stack, "Api", default_integration=HttpLambdaIntegration("ToShop", function))
CfnOutput(stack, "Url", value=api.api_endpoint)
app.synth()
