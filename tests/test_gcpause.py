import gc

import pytest

from virtiomem import gcpause


def test_collection_pauses_and_goes_on() -> None:
    with gcpause.paused():
        assert not gc.isenabled()
        with gcpause.paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_collection_goes_on_after_a_failure() -> None:
    with pytest.raises(ValueError, match="mine"), gcpause.paused():
        raise ValueError("mine")
    assert gc.isenabled()
