"""The operator's own key: present and long enough, or a word about what to do."""

import pytest

from deepseek_operator.cluster.operator_key import KEY_ENVIRONMENT, OperatorKeyMissing, operator_key


def test_the_key_comes_from_the_environment() -> None:
    assert operator_key({KEY_ENVIRONMENT: "k" * 64}) == b"k" * 64


@pytest.mark.parametrize("value", [None, "", "short"])
def test_without_a_good_key_the_message_says_how_to_make_one(value: str | None) -> None:
    environ = {} if value is None else {KEY_ENVIRONMENT: value}
    with pytest.raises(OperatorKeyMissing, match="create-key"):
        operator_key(environ)
