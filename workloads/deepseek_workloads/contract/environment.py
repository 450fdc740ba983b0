"""Names of environment variables, ports and paths that the operator sets and the workloads read."""

# Environment variables set on every pod of a job or dataset.
RUN_CONFIG_PATH = "DEEPSEEK_RUN_CONFIG"  # path of the mounted run config (JSON)
ROLE = "DEEPSEEK_ROLE"  # coordinator | worker | standby
POD_NAME = "POD_NAME"
POD_IP = "POD_IP"
WORKER_INDEX = "DEEPSEEK_WORKER_INDEX"  # 0..numNodes-1, stable over replacements
INCARNATION = "DEEPSEEK_INCARNATION"  # counts the replacements of this (role, index)
COORDINATOR_HOST = "DEEPSEEK_COORDINATOR_HOST"  # headless Service of the coordinator
# The run's own token, from its Secret `<kind>-<name>-token-<8 digits of its uid>`; it is also Ray's.
JOB_TOKEN = "DEEPSEEK_JOB_TOKEN"  # noqa: S105
RAY_AUTH_TOKEN = "RAY_AUTH_TOKEN"  # noqa: S105
JOB_TOKEN_SECRET_KEY = "token"  # noqa: S105
# Credentials come from the user's Secret under these keys, as environment variables of the same names.
AWS_ACCESS_KEY_ID = "AWS_ACCESS_KEY_ID"
AWS_SECRET_ACCESS_KEY = "AWS_SECRET_ACCESS_KEY"  # noqa: S105
AWS_SESSION_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105
# Of Google Cloud Storage and Azure Blob Storage, likewise.
GOOGLE_SERVICE_ACCOUNT_KEY = "GOOGLE_SERVICE_ACCOUNT_KEY"  # the JSON document
AZURE_STORAGE_ACCOUNT_NAME = "AZURE_STORAGE_ACCOUNT_NAME"
AZURE_STORAGE_ACCOUNT_KEY = "AZURE_STORAGE_ACCOUNT_KEY"
AZURE_STORAGE_SAS_KEY = "AZURE_STORAGE_SAS_KEY"  # in place of the account's key: a shared access signature,
AZURE_TENANT_ID = "AZURE_TENANT_ID"  # or an application
AZURE_CLIENT_ID = "AZURE_CLIENT_ID"
AZURE_CLIENT_SECRET = "AZURE_CLIENT_SECRET"  # noqa: S105
# Of experiment trackers, likewise.
WANDB_API_KEY = "WANDB_API_KEY"
MLFLOW_CREDENTIALS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
# Of a served model that a dataset's stage asks, likewise.
OPENAI_API_KEY = "OPENAI_API_KEY"
FAST_READS = "DEEPSEEK_FAST_READS"  # off: ranges are read by s3fs though obstore is installed
TERMINATION_GRACE_SECONDS = "DEEPSEEK_TERMINATION_GRACE_SECONDS"
MEMORY_REPLICAS_DIR = "DEEPSEEK_MEMORY_REPLICAS_DIR"  # of worker pods whose run keeps checkpoints in memory

# Ports.
COORDINATOR_PORT = 8080  # GET /progress, /healthz, /readyz, /metrics; POST /control, /report
EPOCH_PORT = 8081  # workers hold one connection; its end means: restart Ray in place
RAY_PORT = 6379
# Ray's other ports are pinned to this range on every pod, so that a NetworkPolicy can name them.
RAY_PORT_RANGE = (20000, 20999)
SERVE_PORT = 8000  # of every replica pod: the API, /healthz, /readyz, /metrics
# Of a coordinator whose run uses Horovod, for the run's own workers alone: the rendezvous has no
# authentication.
HOROVOD_RENDEZVOUS_PORT = 8082  # where the ranks find each other's addresses, over HTTP
HOROVOD_LAUNCHER_PORT = 8083  # workers hold one connection; over it the driver starts their ranks
# gloo and NCCL listen on ports of the kernel's choice: pods of one job may reach each other on every port.

# Paths. The root file system is read-only; these are volumes.
RUN_CONFIG_FILE = "/etc/deepseek/run-config.json"
API_KEYS_DIR = "/etc/deepseek-api-keys"  # a Secret: each of its values is a key, rotated without a restart
SCRATCH_DIR = "/tmp"  # noqa: S108 - an emptyDir; Ray's session, caches
BLOCK_CACHE_DIR = f"{SCRATCH_DIR}/blocks"  # of workers with data.cacheSize, a volume of its own
MEMORY_REPLICAS_MOUNT = "/var/lib/deepseek/replicas"  # a memory emptyDir: it outlives the pod's processes
SHARED_MEMORY_DIR = "/dev/shm"  # noqa: S108 - a memory emptyDir for Ray's object store
TERMINATION_MESSAGE_PATH = "/dev/termination-log"
DRAIN_FILE = "/tmp/drain"  # noqa: S108 - exists once SIGTERM was received by this pod's supervisor

ROLE_COORDINATOR = "coordinator"
ROLE_WORKER = "worker"
ROLE_STANDBY = "standby"  # of a job that has fewer nodes than it wants: it holds one until the run is resized
ROLE_DRIFT_CHECK = "drift-check"  # of a dataset that is prepared: one pod a check
