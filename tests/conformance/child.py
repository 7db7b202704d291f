"""A device for `--command`: ours, spoken to in JSON lines; `python child.py [FAULT [AFTER]]` breaks at that many requests."""

import json
import sys
import time

FAULT = sys.argv[1] if len(sys.argv) > 1 else ""
WORDS = {
    "nonsense": "no JSON",
    "list": "[1]",
    "half": '{"bytes": "0"}',
    "short": '{"bytes": "0000"}',
    "empty": "{}",
}
LEFT = int(sys.argv[2]) if len(sys.argv) > 2 else 0


def fail() -> None:
    """Break the promise that the fault names."""
    if FAULT == "die":
        sys.stderr.write("one\ntwo\nout of ideas\n")
        sys.exit(3)
    if FAULT == "hang":
        time.sleep(3600)  # killed long before
    say(WORDS[FAULT] if FAULT in WORDS else "x" * (2 << 20))


def say(line: str) -> None:
    """Answer with a line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def broken_device() -> None:
    """Answer until the fault shows; what takes time to import is left alone."""
    sizes = {"region-size": 1 << 30, "usable-region-size": 3 << 28, "plugged-size": 0, "requested-size": 1 << 29}
    left = LEFT
    for line in sys.stdin:
        do = json.loads(line)["do"]
        left -= do in ("request", "open")
        if left < 0:
            fail()
        else:
            say(json.dumps({"features": 0, "block-size": 2 << 20, "node": 0, "addr": 4 << 30, **sizes}))


def our_device() -> None:
    """Answer as our own device until standard input ends."""
    from virtiomem.conformance.messages import _CONFIG_KEYS
    from virtiomem.conformance.targets import realize
    from virtiomem.errors import DeviceError, ProtocolError
    from virtiomem.transport.virtio_transport import DeviceSpec

    mem = None
    for line in sys.stdin:
        asked = json.loads(line)
        do = asked.pop("do")
        answer: dict[str, object] = {}
        try:
            if do == "open":
                mem = realize(
                    DeviceSpec("vm0", asked["size"], asked["block-size"], asked["requested-size"], asked["addr"])
                )
                answer["features"] = int(mem.features)
            assert mem is not None
            if do == "config":
                answer = {key: getattr(mem.config, field) for field, key in _CONFIG_KEYS.items()}
            elif do == "request":
                answer["bytes"] = mem.handle(bytes.fromhex(asked["bytes"])).hex()
            elif do == "set-requested-size":
                mem.requested_size = asked["size"]
                answer["notified"] = True
            elif do == "set-busy":
                mem.busy = asked["busy"]
            elif do == "system-reset":
                mem.system_reset()
        except DeviceError as refusal:
            answer["refused"] = str(refusal)
        except ProtocolError as broken:
            answer["broken"] = str(broken)
        say(json.dumps(answer))


if __name__ == "__main__":
    broken_device() if FAULT else our_device()
