"""What an installation can set."""

import pytest

from deepseek_operator.settings import InvalidSettings, load_settings


def test_without_an_environment_the_defaults_hold() -> None:
    assert load_settings({}).watch_namespaces == ()


def test_settings_come_from_the_environment() -> None:
    settings = load_settings({"DEEPSEEK_CONCURRENCY": "4", "DEEPSEEK_WATCH_NAMESPACES": "a, b,"})
    assert (settings.concurrency, settings.watch_namespaces) == (4, ("a", "b"))


def test_an_argument_goes_before_the_environment() -> None:
    settings = load_settings({"DEEPSEEK_WATCH_NAMESPACES": "a"}, watch_namespaces=("b",))
    assert settings.watch_namespaces == ("b",)


def test_a_leader_gives_its_lease_up_before_another_may_take_it() -> None:
    with pytest.raises(InvalidSettings, match="lease_renew_deadline_seconds 20"):
        load_settings({"DEEPSEEK_LEASE_RENEW_DEADLINE_SECONDS": "20"})


def test_a_setting_that_cannot_be_used_is_named_with_its_value() -> None:
    with pytest.raises(InvalidSettings, match="DEEPSEEK_CONCURRENCY='none'"):
        load_settings({"DEEPSEEK_CONCURRENCY": "none"})
