"""Load a target from another package: a Python object, by the name of its module and of its factory."""

import sys
from importlib import import_module
from pathlib import Path

from virtiomem.conformance.testbench import Target
from virtiomem.errors import UsageError
from virtiomem.text import one_line

_PROMISED = ("name", "release", "has_virtio", "has_contents", "open", "close")


def load_target(module: str, factory: str) -> Target:
    """Return what the factory in a module returns; modules are looked for in the current directory, too.

    Raises UsageError when there is no such module or factory, it fails, or what it returns is no `Target`.
    """
    name = f"{module}:{factory}"
    # For this import alone: a file of the user's must not stand in for a module of ours later.
    sys.path.insert(0, str(Path.cwd()))
    try:
        target = getattr(import_module(module), factory)()
    # The module is anyone's, and may raise anything when it is imported or called.
    except Exception as error:
        raise UsageError(one_line(f"{name}: {type(error).__name__}: {error}")) from error
    finally:
        sys.path.pop(0)
    lacking = [attribute for attribute in _PROMISED if not hasattr(target, attribute)]
    if lacking:
        raise UsageError(
            f"{name}: what it returns is not a conformance.testbench.Target: it has no {', '.join(lacking)}"
        )
    made: Target = target
    return made
