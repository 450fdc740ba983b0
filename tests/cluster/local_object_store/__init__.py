"""A real S3 server as a process of this machine, and a proxy in front of any S3 server that adds latency and
breaks requests. Made for tests and benchmarks; it knows nothing of what is stored.

    with running_server(folder) as server, Proxy(server.endpoint_url, latency_seconds=0.2) as slow:
        slow.fail("cut", "flip", method="GET")  # the next two GETs
        boto3.client("s3", endpoint_url=slow.endpoint_url, ...)
"""

from local_object_store.faults import Fault
from local_object_store.proxy import Proxy
from local_object_store.server import Server, proxy_process, running_server

__all__ = ["Fault", "Proxy", "Server", "proxy_process", "running_server"]
