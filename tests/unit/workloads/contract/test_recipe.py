from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.recipe import differences

VALUES = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3)
    ),
)


@given(VALUES)
def test_a_recipe_does_not_differ_from_itself(value: object) -> None:
    assert differences(value, value) == []


@given(VALUES, VALUES)
def test_differences_are_found_from_both_sides(one: object, other: object) -> None:
    assert bool(differences(one, other)) == bool(differences(other, one))


def test_a_difference_names_its_path_and_both_values() -> None:
    theirs = {"data": {"sources": [{"name": "docs", "weight": 1.0}]}}
    ours = {"data": {"sources": [{"name": "docs", "weight": 2.0}]}}
    assert differences(theirs, ours) == ["data.sources[0].weight: 1.0 there, 2.0 here"]


def test_what_one_side_does_not_say_agrees_with_everything() -> None:
    assert differences({"digest": None, "new": 1}, {"digest": "sha256:0"}) == []
