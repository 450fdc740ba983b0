"""Which images of the golden store are worth their disk."""

from hypothesis import given
from hypothesis import strategies as st

from local_kubernetes.golden import superseded


def test_the_two_last_used_of_each_repository_stay() -> None:
    names = ["localhost/a:1", "localhost/b:1", "localhost/a:2", "localhost/a:3"]
    assert superseded(names) == ["localhost/a:1"]


def test_a_port_in_the_name_is_not_a_tag() -> None:
    assert superseded(["r:5000/a:1", "r:5000/b:1", "r:5000/c:1"]) == []


@given(st.lists(st.from_regex(r"l/[ab]:[0-9]{1,2}", fullmatch=True), unique=True))
def test_what_stays_is_enough_and_not_more(names: list[str]) -> None:
    left = [name for name in names if name not in superseded(names)]
    for repository in ("l/a", "l/b"):
        of_repository = [name for name in names if name.startswith(f"{repository}:")]
        assert [name for name in left if name in of_repository] == of_repository[-2:]
