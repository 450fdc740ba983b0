"""How Google Cloud Storage and Azure Blob Storage are reached: from names and credentials to obstore's store.

Credentials come from the environment, under the names that the services' own tools read; without them
obstore's chain is asked (a service account of the node or pod).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from obstore.store import AzureStore, GCSStore

from deepseek_workloads.contract import environment

_CLIENT = {
    "timeout": "60s",
    "connect_timeout": "5s",
    "pool_max_idle_per_host": "32",
    "pool_idle_timeout": "90s",
}
_NO_RETRIES: Any = {"max_retries": 0, "retry_timeout": timedelta(seconds=60)}
_GOOGLE = {environment.GOOGLE_SERVICE_ACCOUNT_KEY: "service_account_key"}
_AZURE = {
    environment.AZURE_STORAGE_ACCOUNT_NAME: "account_name",
    environment.AZURE_STORAGE_ACCOUNT_KEY: "account_key",
    environment.AZURE_STORAGE_SAS_KEY: "sas_key",
    environment.AZURE_TENANT_ID: "tenant_id",
    environment.AZURE_CLIENT_ID: "client_id",
    environment.AZURE_CLIENT_SECRET: "client_secret",
}


def google_store(bucket: str, *, endpoint_url: str | None, environ: Mapping[str, str]) -> Any:
    settings = _settings(_GOOGLE, environ)
    if endpoint_url is not None:
        settings["base_url"] = endpoint_url
    return GCSStore(bucket, client_options=_client(endpoint_url), retry_config=_NO_RETRIES, **settings)


def azure_store(container: str, *, endpoint_url: str | None, environ: Mapping[str, str]) -> Any:
    settings = _settings(_AZURE, environ)
    if endpoint_url is not None:
        settings["endpoint"] = endpoint_url
    return AzureStore(container, client_options=_client(endpoint_url), retry_config=_NO_RETRIES, **settings)


def _settings(names: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Any]:
    return {setting: environ[name] for name, setting in names.items() if environ.get(name)}


def _client(endpoint_url: str | None) -> Any:
    return {**_CLIENT, "allow_http": endpoint_url is not None and endpoint_url.startswith("http://")}
