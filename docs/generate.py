"""Write the reference pages from the code that they are about: settings, output schemas, metrics, commands.

python docs/generate.py                   (with --check it writes nothing and fails where a page is out of date)
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import click
from prometheus_client.metrics import MetricWrapperBase

from service import metrics
from service.alerts import atlas
from service.cli import cli
from service.config import ENV_PREFIX, InputSettings, Settings
from service.output.avro import CLASSIFICATION
from service.output.dead_letter import DEAD_LETTER

FOLDER: Final = Path(__file__).resolve().parent
NOTICE: Final = "<!-- Written by docs/generate.py: edit the code that it describes (or *.md.in), then run it again. -->"

CONFIGURATION: Final = """# Configuration

A setting comes from, in falling order: the command line, the environment, a TOML file (`--config FILE`, or
`ALERT_CLASSIFIER_CONFIG`), the default below. A name that does not exist and a value that does not fit are refused at
the start, in one sentence that names the setting.

In the environment a setting is called `ALERT_CLASSIFIER_<GROUP>__<NAME>`, with two underscores before the name; lists
and tables are JSON:

```sh
export ALERT_CLASSIFIER_KAFKA__TOPICS='["ztf_public"]'
export ALERT_CLASSIFIER_QUALITY__ACTION=drop
```

In a file the groups are tables:

```toml
[kafka]
bootstrap_servers = "kafka-0:9093,kafka-1:9093"
topics = ["ztf_public"]
delivery = "exactly_once"

[kafka.librdkafka]  # any property of librdkafka, for consumer and producer
"security.protocol" = "SASL_SSL"
"sasl.mechanism" = "SCRAM-SHA-512"
"sasl.username" = "classifier"

[store]
url = "postgresql://classifier@database/alerts"
```

Secrets are better kept out of files. A table in the environment joins the one of the file, entry by entry:
`ALERT_CLASSIFIER_KAFKA__LIBRDKAFKA='{"sasl.password": "..."}'`. Where a variable's name may hold dots, as in Docker and
Kubernetes, `ALERT_CLASSIFIER_KAFKA__LIBRDKAFKA__sasl.password` says the same without JSON.
"""

INPUTS: Final = """Several streams in one process, say two surveys'; `kafka` then says where the classifications go, and
what all inputs share. Each has a consumer and threads of its own, and its name in accounts, health and metrics (label
`input`). Without `inputs` the one stream is that of `kafka`.

```toml
[kafka]
bootstrap_servers = "kafka.example.org:9092"   # of the classifications, and of inputs that name no others

[[inputs]]
name = "ztf"
survey = "ztf"

[[inputs]]
name = "rubin"
survey = "lsst"
bootstrap_servers = "rubin-alert-stream-bootstrap.slac.stanford.edu:9094"
topics = ["lsst-alerts-v11"]
group_id = "YOURNAME-alert-classifier"
schema_registry_url = "https://rubin-alert-schemas.slac.stanford.edu/schema-registry/"
max_batch = 64

[inputs.librdkafka]
"security.protocol" = "SASL_PLAINTEXT"
"sasl.mechanism" = "SCRAM-SHA-512"
"sasl.username" = "YOURNAME"
```

`[inputs.rubin]` is the same as `[[inputs]]` with that name, and so is the environment:
`ALERT_CLASSIFIER_INPUTS__RUBIN__LIBRDKAFKA='{"sasl.password": "..."}'` joins the table of the file. A topic stands in
one input only. `exactly_once` needs all inputs on the brokers of `kafka`, and is refused at the start otherwise: a
transaction is within one cluster.
"""

METRICS: Final = """# Metrics

What `/metrics` shows to Prometheus, besides the process's own (`process_*`, `python_*`). Counters end in `_total`;
histograms have `_bucket`, `_sum` and `_count`. The [alert rules](prometheus-alerts.md) and the dashboards are made of
these.
"""

COMMANDS: Final = """# Commands

What `alert-classifier COMMAND --help` says. Exit status: 0 done, 1 could not (the message says why), 2 wrong usage,
130 interrupted. Completion of commands and options for bash (zsh and fish alike):

<!-- not run: changes the shell that it runs in -->
```sh
eval "$(_ALERT_CLASSIFIER_COMPLETE=bash_source alert-classifier)"
```
"""


def pages() -> dict[str, str]:
    """File name -> content of each page."""
    made = {
        "configuration.md": "\n".join([CONFIGURATION, *_settings()]),
        "output.md": "\n".join(
            [
                (FOLDER / "output.md.in").read_text(),
                *_schema(CLASSIFICATION.text),
                *_schema(DEAD_LETTER.text),
                *_schema(atlas.SCHEMA_TEXT),
            ]
        ),
        "metrics.md": "\n".join([METRICS, *_metrics()]),
        "commands.md": "\n".join([COMMANDS, *_commands(cli, "alert-classifier")]),
    }
    return {name: f"{NOTICE}\n\n{content.rstrip()}\n" for name, content in made.items()}


def _settings() -> Iterator[str]:
    schema = Settings.model_json_schema()
    groups = [(name, field["$ref"]) for name, field in schema["properties"].items() if "$ref" in field]
    while groups:
        group, reference = groups.pop(0)
        described = schema["$defs"][reference.rsplit("/", 1)[1]]
        yield f"## {group}\n"
        if "description" in described:
            yield f"{_one_line(described['description'])}\n"
        within = [
            (f"{group}.{name}", field["$ref"])
            for name, field in described["properties"].items()
            if "properties" in _resolved(field, schema)
        ]
        table, _, inner = group.partition(".")
        defaults = Settings.model_fields[table].default
        rows = list(_rows(described, schema, getattr(defaults, inner) if inner else defaults))
        first = next(iter(described["properties"])).upper()
        groups[:0] = within
        yield f"In the environment: `{ENV_PREFIX}{group.upper().replace('.', '__')}__{first}` and so on.\n"
        yield _table(("setting", "type", "default", "meaning"), rows)
        for name, field in described["properties"].items():
            table = _resolved(field.get("items", {}), schema)
            if "properties" in table:
                yield f"Each of `{group}.{name}` is a table:\n"
                yield _table(("setting", "type", "default", "meaning"), _rows(table, schema, None))
        if group == "kafka":
            yield from _inputs(schema)


def _inputs(schema: dict[str, Any]) -> Iterator[str]:
    """Tables by name, each of the same settings."""
    described = _resolved(schema["properties"]["inputs"]["additionalProperties"], schema)
    yield f"## inputs\n\n{_one_line(InputSettings.__doc__ or '')}\n"
    yield INPUTS
    yield _table(("setting", "type", "default", "meaning"), _rows(described, schema, InputSettings(name="of")))


def _rows(described: dict[str, Any], schema: dict[str, Any], defaults: Any) -> Iterator[tuple[str, ...]]:
    for name, field in described["properties"].items():
        if "properties" in _resolved(field, schema):  # a table of its own
            continue
        if field.get("format") == "password":  # masked in the schema, but a default is nobody's secret
            field["default"] = getattr(defaults, name).get_secret_value()
        whole = field | _resolved(field, schema)
        meaning = "; ".join(filter(None, (_cell(field.get("description", "")), _limits(whole))))
        yield f"`{name}`", _type(whole, schema), _default(field), meaning


def _resolved(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = field.get("$ref") or next((part["$ref"] for part in field.get("allOf", []) if "$ref" in part), None)
    found: dict[str, Any] = schema["$defs"][reference.rsplit("/", 1)[1]] if reference else {}
    return {name: value for name, value in found.items() if name != "description"}


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    if choice := re.fullmatch(r"\^\(([\w|]+)\)\$", field.get("pattern", "")):
        return " or ".join(f"`{value}`" for value in choice[1].split("|"))
    if "enum" in field:
        return " or ".join(f"`{value}`" if value else "empty" for value in field["enum"])
    if "properties" in field:
        return "table"
    if "anyOf" in field:
        return " or ".join(_type(part | _resolved(part, schema), schema) for part in field["anyOf"])
    if field.get("type") == "array" and "properties" in _resolved(field["items"], schema):
        return "list of tables"
    if field.get("type") == "array":
        return f"list of {_type(field['items'] | _resolved(field['items'], schema), schema)}"
    if field.get("type") == "object":
        return "table of strings"
    names = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean", "null": "none"}
    return {"path": "path", "password": "secret"}.get(field.get("format", ""), names[field["type"]])


def _default(field: dict[str, Any]) -> str:
    value = field.get("default", {"array": [], "object": {}}.get(field.get("type", "")))
    return "none" if value is None else f"`{json.dumps(value)}`"


def _limits(field: dict[str, Any]) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return ", ".join(f"{word} {field[name]:g}" for name, word in words.items() if name in field)


def _schema(text: str) -> Iterator[str]:
    schema = json.loads(text)
    yield f"## {schema['name']}\n"
    yield f"{schema['doc']}\n"
    yield _table(("field", "type", "meaning"), list(_fields(schema, "")))


def _fields(record: dict[str, Any], place: str) -> Iterator[tuple[str, str, str]]:
    for field in record["fields"]:
        kind = field["type"]
        yield f"`{place}{field['name']}`", _avro_type(kind), _cell(field.get("doc", ""))
        if isinstance(kind, dict) and kind["type"] == "array" and isinstance(kind["items"], dict):
            yield from _fields(kind["items"], f"{place}{field['name']}[].")


def _avro_type(kind: Any) -> str:
    if isinstance(kind, list):
        return " or ".join("null" if part == "null" else _avro_type(part) for part in kind)
    if isinstance(kind, dict):
        if kind["type"] == "map":
            return f"map of {_avro_type(kind['values'])}"
        if kind["type"] == "array":
            return f"array of {_avro_type(kind['items'])}"
        return f"{kind['type']} ({kind['logicalType']})" if "logicalType" in kind else str(kind["type"])
    return str(kind)


def _metrics() -> Iterator[str]:
    rows = []
    for collector in vars(metrics).values():
        if isinstance(collector, MetricWrapperBase):
            (family,) = collector.describe()
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            # a metric without labels has none declared
            labels = ", ".join(f"`{label}`" for label in collector._labelnames)
            rows.append((f"`{family.name}{suffix}`", family.type, labels, _cell(family.documentation)))
    yield _table(("metric", "type", "labels", "meaning"), rows)


def _commands(command: click.Command, path: str, depth: int = 2) -> Iterator[str]:
    context = click.Context(command, info_name=path, terminal_width=100)
    yield f"{'#' * depth} {path}\n"
    yield f"```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _commands(child, f"{path} {name}", min(depth + 1, 4))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def main() -> None:
    stale = {name: content for name, content in pages().items() if _on_disk(name) != content}
    if "--check" in sys.argv[1:]:
        sys.exit(f"out of date: {', '.join(stale)}; run python docs/generate.py" if stale else 0)
    for name, content in stale.items():
        (FOLDER / name).write_text(content)
        print(FOLDER / name)


def _on_disk(name: str) -> str | None:
    file = FOLDER / name
    return file.read_text() if file.exists() else None


if __name__ == "__main__":
    main()
