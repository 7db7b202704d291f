import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests import schemas
from virtiomem.cli.main import COMMANDS, main
from virtiomem.cli.outputs import OUTPUTS

KEPT = Path(__file__).parents[2] / "docs" / "schemas.json"


def test_the_schemas_that_were_published_are_those_that_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A schema that has changed: `virtiomem schema --json > docs/schemas.json`, and the next version if a key has gone."""
    assert main(["schema", "--json"]) == 0
    assert capsys.readouterr().out == KEPT.read_text()


def test_every_command_has_a_schema() -> None:
    assert set(COMMANDS) - {"completion"} == {verb.split()[0] for verb in OUTPUTS}


def test_a_schema_is_named_by_the_words_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "vm", "list"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["$id"], said["title"]) == ("urn:virtiomem:vm-list:1", "virtiomem vm list --json")
    assert main(["schema"]) == 0
    assert "\nvm list        1\n" in f"\n{capsys.readouterr().out}"


def test_a_word_that_is_nearly_right_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "vm", "lst"]) == 2
    said = "virtiomem: no schema of 'vm lst', did you mean 'vm list'? (virtiomem schema lists them)\n"
    assert capsys.readouterr().err == said


SCENARIO = "examples/reload.toml"


@pytest.mark.parametrize(
    ("verb", "spoil"),
    [
        ("run", lambda value: value["boot"].pop("iomem")),
        ("run", lambda value: value["steps"][0].update({"unheard-of": 1})),
        ("run", lambda value: value["steps"][0]["snapshot"]["devices"][0].update(size="1G")),
        ("blocks", lambda value: value["memory"].append({})),
        ("blocks", lambda value: value["memory"][0].update(state="plugged")),
        ("blocks", lambda value: value["memory"][0].update(block="all")),
        ("blocks", lambda value: value["memory"][0].update({"unheard-of": 1})),
    ],
)
def test_an_output_that_is_spoiled_is_found_out(
    verb: str, spoil: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(KEPT.parents[1])
    assert main([verb, "--json", {"run": SCENARIO, "blocks": "examples/guest.capture"}[verb]]) == 0
    value = json.loads(capsys.readouterr().out)
    schemas.check([verb], json.dumps(value))
    spoil(value)
    with pytest.raises(AssertionError, match=f"{verb}: "):
        schemas.check([verb], json.dumps(value))


def test_every_schema_is_one() -> None:
    for verb, value in json.loads(KEPT.read_text()).items():
        kind = jsonschema.validators.validator_for(value)
        assert kind is jsonschema.Draft202012Validator, verb
        kind.check_schema(value)
