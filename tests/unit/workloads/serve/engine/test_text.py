"""Text comes out whole: no half characters, nothing of a stop string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from deepseek_workloads.serve.engine.text import Detokenizer, StopStrings


def bytes_of(tokenizer: Tokenizer, text: str) -> list[int]:
    """One token for each byte, so that every character but ASCII is spread over several."""
    return [
        token
        for character in text
        for byte in character.encode()
        for token in [tokenizer.token_to_id(BYTES[byte])]
    ]


def _byte_alphabet() -> dict[int, str]:
    """As byte-level BPE writes bytes (the GPT-2 table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + at) for at, byte in enumerate(others)}


BYTES = _byte_alphabet()


def test_a_character_comes_out_when_its_last_byte_has_come(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer.decode, prompt=[])

    parts = [detokenizer.push(token) for token in bytes_of(tokenizer, "a内b")]

    assert parts == ["a", "", "", "内", "b"]


def test_a_character_that_the_prompt_began_is_ended_by_the_answer(tokenizer: Tokenizer) -> None:
    first, *rest = bytes_of(tokenizer, "内")
    detokenizer = Detokenizer(tokenizer.decode, prompt=[*bytes_of(tokenizer, "x"), first])

    assert "".join(detokenizer.push(token) for token in rest) == "内"


def test_bytes_that_are_no_text_do_not_hold_back_what_follows(tokenizer: Tokenizer) -> None:
    continuation_byte = tokenizer.token_to_id(BYTES[0x80])
    detokenizer = Detokenizer(tokenizer.decode, prompt=[])

    text = "".join(detokenizer.push(token) for token in [continuation_byte] * 5)

    assert text == "\N{REPLACEMENT CHARACTER}" * 4
    assert detokenizer.push(bytes_of(tokenizer, "a")[0]) == "\N{REPLACEMENT CHARACTER}a"


@given(st.text(max_size=80), st.text(max_size=20))
def test_the_parts_together_are_the_text(tokenizer: Tokenizer, text: str, prompt: str) -> None:
    detokenizer = Detokenizer(tokenizer.decode, prompt=tokenizer.encode(prompt).ids)

    parts = [detokenizer.push(token) for token in bytes_of(tokenizer, text)]

    assert "".join(parts) + detokenizer.flush() == text
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(parts) or "\N{REPLACEMENT CHARACTER}" in text


def test_a_stop_string_across_parts_is_never_emitted_partly() -> None:
    stops = StopStrings(["END"])

    assert [stops.push(part) for part in ["one E", "N", "D two"]] == [
        ("one ", False),
        ("", False),
        ("", True),
    ]


def test_what_only_looked_like_a_stop_string_comes_out() -> None:
    stops = StopStrings(["END"])

    assert stops.push("E") == ("", False)
    assert stops.push("Nough") == ("ENough", False)
    assert stops.push("EN") == ("", False)
    assert stops.flush() == "EN"


@given(
    st.lists(st.text(alphabet="ab", max_size=4), max_size=12),
    st.lists(st.text(alphabet="ab", min_size=1, max_size=3), min_size=1, max_size=4),
)
def test_however_text_is_cut_it_ends_before_the_first_stop_string(parts: list[str], stops: list[str]) -> None:
    """`first` of all stop strings found when their last character has come."""
    whole = "".join(parts)
    matcher, emitted, stopped = StopStrings(stops), "", False
    for part in parts:
        for character in part:
            text, stopped = matcher.push(character)
            emitted += text
            if stopped:
                break
        if stopped:
            break
    if not stopped:
        emitted += matcher.flush()

    assert stopped == any(stop in whole for stop in stops)
    assert whole.startswith(emitted)
    assert not any(stop in emitted for stop in stops)
    assert stopped or emitted == whole


@pytest.mark.parametrize("stops", [[], [""]])
def test_no_stop_strings_hold_back_nothing(stops: list[str]) -> None:
    assert StopStrings(stops).push("text") == ("text", False)
