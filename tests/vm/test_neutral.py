"""What the machines' part says of every hypervisor is in nobody's own words."""

import io
import tokenize
from pathlib import Path

import pytest

from virtiomem import vm

ITS_OWN = {"qemu_backend", "sent", "sim", "guest_agent", "guest_files", "connect", "peer", "__init__"}
"""What speaks to one kind of machine, or knows which kinds there are."""
MODULES = sorted(path for path in Path(vm.__path__[0]).glob("*.py") if path.stem not in ITS_OWN)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_hypervisor_is_named_in_what_every_hypervisor_shares(path: Path) -> None:
    words = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    said = " ".join(token.string for token in words if token.type in (tokenize.STRING, tokenize.COMMENT))
    assert not [word for word in ("QEMU", "qom-") if word in said]
