import base64
import json
from pathlib import Path
from typing import Any

import pytest

from virtiomem.kdump.elfcore import DIRECT_MAP_5_LEVEL, Inputs, KernelText, Note

DATA = Path(__file__).parent.parent / "data"


class RealHeader:
    """A recorded crash header, and the addresses that went into it."""

    def __init__(self, name: str, folder: str = "kdump", text: int = 0x2830000) -> None:
        self.recorded: dict[str, Any] = json.loads((DATA / folder / f"{name}.json").read_text())
        self.iomem: str = self.recorded["iomem"] + "\n"
        note = self.recorded["vmcoreinfo"]
        self.inputs = Inputs(
            notes=[Note(cpu["addr"], cpu["size"]) for cpu in self.recorded["crash-notes"]],
            vmcoreinfo=Note(note["addr"], note["size"]),
            text=KernelText(0xFFFFFFFF81000000, 0x1000000, text),
            direct_map=DIRECT_MAP_5_LEVEL,
            backup=0x7EF61000,
        )

    @property
    def elfcorehdr(self) -> bytes:
        """The header's bytes, the zeros behind it cut off."""
        return base64.b64decode(self.recorded["elfcorehdr"]["base64"])


@pytest.fixture
def real_header() -> type[RealHeader]:
    """Recorded headers by name."""
    return RealHeader
