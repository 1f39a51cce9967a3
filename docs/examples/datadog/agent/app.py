"""An image function that sends its traces to a Datadog Agent in its VPC."""

from aws_cdk import App, CfnOutput, CfnParameter, Duration, Stack
from aws_cdk.aws_apigatewayv2 import HttpApi
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from aws_cdk.aws_ecr import Repository
from aws_cdk.aws_iam import ManagedPolicy
from aws_cdk.aws_lambda import CfnFunction, DockerImageCode, DockerImageFunction

app = App()
stack = Stack(app, "ShopAgent")


def parameter(name: str, description: str) -> str:
    """Ask for a value at deployment."""
    return CfnParameter(stack, name, description=description).value_as_string


repository = Repository.from_repository_name(
    stack, "Repository", parameter("ImageRepository", "Name of the ECR repository with the app's image")
)
image = DockerImageCode.from_ecr(repository, tag_or_digest=parameter("ImageTag", "Tag of the image"))
agent_url = parameter("AgentUrl", "Where the agent takes traces, such as http://agent.internal:8126")
subnets = CfnParameter(
    stack,
    "SubnetIds",
    type="List<AWS::EC2::Subnet::Id>",
    description="Subnets from which the agent can be reached",
)
security_groups = CfnParameter(
    stack,
    "SecurityGroupIds",
    type="List<AWS::EC2::SecurityGroup::Id>",
    description="Security groups that the agent lets in",
)

function = DockerImageFunction(
    stack,
    "Shop",
    code=image,
    memory_size=1024,
    timeout=Duration.seconds(30),
    environment={
        "AWS_LWA_READINESS_CHECK_PATH": "/health",
        "DD_TRACE_AGENT_URL": agent_url,
        "DD_SERVICE": "shop",
        "DD_ENV": "prod",
        "DD_VERSION": "1",
    },
)
in_vpc = ManagedPolicy.from_aws_managed_policy_name("service-role/AWSLambdaVPCAccessExecutionRole")
function.role.add_managed_policy(in_vpc)
# Networks that are parameters have no availability zones that CDK's own Vpc could know.
function.node.default_child.vpc_config = CfnFunction.VpcConfigProperty(
    subnet_ids=subnets.value_as_list, security_group_ids=security_groups.value_as_list
)

api = HttpApi(stack, "Api", default_integration=HttpLambdaIntegration("ToShop", function))
CfnOutput(stack, "Url", value=api.api_endpoint)
app.synth()
