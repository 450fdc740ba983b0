"""How the operator finds its API server: the pod's service account, or else the kubeconfig.

It knows nothing about what is asked of the server.
"""

import os

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

SERVICE_HOST = "KUBERNETES_SERVICE_HOST"


async def connect(*, user_agent: str = "deepseek-operator") -> ApiClient:
    """Raises kubernetes.aio.config.ConfigException when neither is there. Close it after use."""
    configuration = Configuration()
    if os.environ.get(SERVICE_HOST):
        config.load_incluster_config(client_configuration=configuration)
    else:
        await config.load_kube_config(client_configuration=configuration)
    client = ApiClient(configuration=configuration)
    client.user_agent = user_agent
    return client
