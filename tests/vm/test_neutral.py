"""What the machines' part says about every hypervisor uses no hypervisor's own words."""

import io
import tokenize
from pathlib import Path

import pytest

from virtiomem import vm
from virtiomem.vm.doors.registry import DOORS

MODULES = sorted(Path(vm.__path__[0]).glob("*.py"))
SCHEMES = tuple(f"{door.scheme}:" for door in DOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_hypervisor_is_named_in_what_every_hypervisor_shares(path: Path) -> None:
    words = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    said = " ".join(token.string for token in words if token.type in (tokenize.STRING, tokenize.COMMENT))
    assert not [word for word in ("QEMU", "qom-", *SCHEMES) if word in said]
