"""What a rank finds in its run config that no retry can mend."""

from deepseek_workloads.contract import reasons


class SettingRefused(ValueError):
    """A setting does not fit the model; the message names the field, its value and the remedy."""

    reason = reasons.INVALID_RUN_CONFIG
