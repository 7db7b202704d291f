import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtiomem.errors import ProtocolError
from virtiomem.wire.mem import Config, Request, RequestType, Response, ResponseType, State

u16 = st.integers(0, 0xFFFF)
u64 = st.integers(0, (1 << 64) - 1)
requests = st.builds(Request, st.sampled_from(RequestType), u64, u16)
responses = st.builds(Response, st.sampled_from(ResponseType), st.sampled_from(State))
configs = st.builds(Config, u64, u16, u64, u64, u64, u64, u64)


@given(requests)
def test_a_request_survives_the_wire(request: Request) -> None:
    assert len(request.pack()) == 24
    assert Request.unpack(request.pack()) == request


@given(responses)
def test_a_response_survives_the_wire(response: Response) -> None:
    assert len(response.pack()) == 10
    assert Response.unpack(response.pack()) == response


@given(configs)
def test_a_configuration_survives_the_wire(config: Config) -> None:
    assert len(config.pack()) == 56
    assert Config.unpack(config.pack()) == config


def test_a_request_has_the_layout_that_linux_sends() -> None:
    # PLUG of 64 blocks at 0x180000000, as recorded from a real driver.
    wire = bytes.fromhex("0000000000000000 0000008001000000 4000000000000000")
    assert Request(RequestType.PLUG, 0x180000000, 64).pack() == wire


def test_padding_and_surplus_bytes_of_a_request_mean_nothing() -> None:
    wire = bytes.fromhex("0100b93f767de853 0000203b01000000 020077977a13ff3f") + b"more"
    assert Request.unpack(wire) == Request(RequestType.UNPLUG, 0x13B200000, 2)


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (bytes(23), "23 bytes, needs 24"),
        (b"", "0 bytes, needs 24"),
        (b"\x04" + bytes(23), "unknown request type: 4"),
        (b"\x00\x01" + bytes(22), "unknown request type: 256"),
    ],
)
def test_bytes_that_do_not_form_a_request_are_refused(wire: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        Request.unpack(wire)


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (bytes(9), "9 bytes, needs 10"),
        (bytes(11), "11 bytes, needs 10"),
        (b"\x04" + bytes(9), "unknown type 0x4"),
        (bytes(8) + b"\x03\x00", "unknown state 0x3"),
    ],
)
def test_bytes_that_are_no_response_are_refused(wire: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        Response.unpack(wire)


def test_a_configuration_of_another_length_is_refused() -> None:
    with pytest.raises(ProtocolError, match="55 bytes, needs 56"):
        Config.unpack(bytes(55))


@pytest.mark.parametrize("request_", [Request(RequestType.PLUG, 1 << 64, 1), Request(RequestType.PLUG, 0, 1 << 16)])
def test_a_request_too_big_for_its_fields_is_refused(request_: Request) -> None:
    with pytest.raises(ProtocolError, match="does not fit"):
        request_.pack()


def test_a_configuration_too_big_for_its_fields_is_refused() -> None:
    with pytest.raises(ProtocolError, match="does not fit"):
        Config(1 << 64, 0, 0, 0, 0, 0, 0).pack()
