from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.supervise import epoch_protocol
from deepseek_workloads.supervise.epoch_protocol import DoneLine, EpochLine, Hello

HELLO = Hello(token="secret", pod="worker-1-0", index=1)


def test_a_hello_with_the_token_is_let_in() -> None:
    assert epoch_protocol.parse_hello(epoch_protocol.hello_line(HELLO), token="secret") == HELLO


def test_a_hello_with_another_token_is_not() -> None:
    assert epoch_protocol.parse_hello(epoch_protocol.hello_line(HELLO), token="other") is None


@given(st.integers(0, 10**6))
def test_an_epoch_survives_the_wire(epoch: int) -> None:
    assert epoch_protocol.parse_line(epoch_protocol.epoch_line(epoch)) == EpochLine(epoch)


def test_the_end_of_the_run_survives_the_wire() -> None:
    assert epoch_protocol.parse_line(epoch_protocol.DONE) == DoneLine()


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_never_an_error(line: bytes) -> None:
    assert epoch_protocol.parse_hello(line, token="secret") is None
    parsed = epoch_protocol.parse_line(line)
    assert parsed is None or line.startswith((b"epoch ", b"done"))


def test_a_line_that_was_cut_is_refused() -> None:
    assert epoch_protocol.parse_line(b"epoch 1") is None
