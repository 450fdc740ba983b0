"""Exit codes of the processes of a pod, and what each one asks of the supervisor and the operator."""

from enum import IntEnum


class ExitCode(IntEnum):
    DONE = 0
    BAD_INPUT = 3  # never retried
    FENCED = 10  # a newer epoch owns the commit log: not a failure, never retried
    NUMERIC_FAILURE = 11  # NaN or infinite loss: the run's policy decides
    TRY_AGAIN = 75  # storage or a peer was lost (EX_TEMPFAIL of sysexits.h)


FINAL_EXIT_CODES = frozenset({ExitCode.DONE, ExitCode.BAD_INPUT, ExitCode.FENCED, ExitCode.NUMERIC_FAILURE})
