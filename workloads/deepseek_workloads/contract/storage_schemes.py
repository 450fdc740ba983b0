"""The object storages that a URI may name, and the environment variables by which each knows its user."""

from typing import Final

from deepseek_workloads.contract import environment as env

# By scheme: each variable, and whether a credentials Secret must have a key of its name. Of several ways to
# prove who one is, none is required.
_VARIABLES: Final = {
    "s3": {
        env.AWS_ACCESS_KEY_ID: True,
        env.AWS_SECRET_ACCESS_KEY: True,
        env.AWS_SESSION_TOKEN: False,
    },
    "gs": {env.GOOGLE_SERVICE_ACCOUNT_KEY: True},
    "az": {
        env.AZURE_STORAGE_ACCOUNT_NAME: True,
        env.AZURE_STORAGE_ACCOUNT_KEY: False,
        env.AZURE_STORAGE_SAS_KEY: False,
        env.AZURE_TENANT_ID: False,
        env.AZURE_CLIENT_ID: False,
        env.AZURE_CLIENT_SECRET: False,
    },
}
STORAGE_SCHEMES: Final = tuple(_VARIABLES)


def credential_variables(scheme: str) -> dict[str, bool]:
    """By name, whether it is required. Empty for a scheme that needs none."""
    return dict(_VARIABLES.get(scheme, {}))
