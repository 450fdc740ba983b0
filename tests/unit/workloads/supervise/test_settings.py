import pytest

from deepseek_workloads.supervise.settings import SettingsError, settings_from

POD = {
    "DEEPSEEK_ROLE": "worker",
    "POD_NAME": "dsjob-tiny-worker-1-0",
    "POD_IP": "10.0.0.7",
    "DEEPSEEK_WORKER_INDEX": "1",
    "DEEPSEEK_COORDINATOR_HOST": "dsjob-tiny-coordinator.research.svc",
    "DEEPSEEK_JOB_TOKEN": "secret",
    "DEEPSEEK_TERMINATION_GRACE_SECONDS": "45",
}


def test_a_pods_environment_is_read() -> None:
    settings = settings_from(POD)
    assert (settings.role, settings.worker_index, settings.grace_seconds) == ("worker", 1, 45)
    assert str(settings.run_config_path) == "/etc/deepseek/run-config.json"


@pytest.mark.parametrize("name", ["DEEPSEEK_ROLE", "POD_IP", "DEEPSEEK_JOB_TOKEN"])
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        settings_from({key: value for key, value in POD.items() if key != name})


@pytest.mark.parametrize(("name", "value"), [("DEEPSEEK_ROLE", "head"), ("DEEPSEEK_WORKER_INDEX", "one")])
def test_a_wrong_variable_is_named_with_its_value(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: '{value}'"):
        settings_from({**POD, name: value})
