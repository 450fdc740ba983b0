"""CamelCase reasons of verdicts and conditions that both sides name, so that none is spelt twice."""

COMPLETED = "Completed"
STOPPED = "Stopped"
# Preflight (the coordinator, before any worker exists)
INVALID_CREDENTIALS = "InvalidCredentials"
ACCESS_DENIED = "AccessDenied"
BUCKET_NOT_FOUND = "BucketNotFound"
STORE_UNREACHABLE = "StoreUnreachable"
OBJECT_NOT_FOUND = "ObjectNotFound"
DATASET_DIGEST_MISMATCH = "DatasetDigestMismatch"
DATASET_INVALID = "DatasetInvalid"
TOKENIZER_TOO_LARGE = "TokenizerTooLarge"
UNSAFE_STORE = "UnsafeStore"  # conditional writes are ignored
INVALID_RUN_CONFIG = "InvalidRunConfig"
CHECKPOINT_MISMATCH = "CheckpointMismatch"
HOROVOD_MISSING = "HorovodMissing"  # the image has none
# Training
NUMERIC_FAILURE = "NumericFailure"
STOPPED_BY_ALERT = "StoppedByAlert"
FENCED = "Fenced"
BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded"
TRAINING_FAILED = "TrainingFailed"
OUT_OF_MEMORY = "OOMKilled"
PROCESS_CRASHED = "ProcessCrashed"
PEER_LOST = "PeerLost"  # a collective broke: some other rank is the cause
NODE_LOST = "NodeLost"
PREEMPTED = "Preempted"
WORKERS_MISSING = "WorkersMissing"
INTERNAL_ERROR = "InternalError"
# Datasets
NO_RAW_OBJECTS = "NoRawObjects"
TOO_MANY_BAD_RECORDS = "TooManyBadRecords"
EMPTY_DATASET = "EmptyDataset"
TOO_MANY_EPOCHS = "TooManyEpochs"  # of a source, by its maxEpochs
OBJECT_TOO_LARGE = "ObjectTooLarge"
DATASET_EXISTS = "DatasetExists"  # another one is published at the same URI
MODEL_SERVICE_UNREACHABLE = "ModelServiceUnreachable"  # that a stage asks
# Serving
EXPORT_INVALID = "ExportInvalid"  # a file is missing or is not what the manifest says
CHECK_FAILED = "CheckFailed"  # prompts, finite logits, bits per byte
REPLICAS_FAILED = "ReplicasFailed"  # the model could not be brought up
