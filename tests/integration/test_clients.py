"""The readers of docs/output.md, run with the clients themselves against a real Apache Kafka.

The clients' requirements fight ours: they have an environment of their own, ALERT_CLASSIFIER_CLIENTS or, made at the
first run (some minutes), `.cache/clients`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer

from service.config import KafkaSettings, OutputSettings
from service.output.avro import CLASSIFICATION
from service.output.outputs import Outputs
from tests.integration.streams import ROOT, Cluster
from tests.output.answers import ANSWER

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]

CLIENTS = ("fink-client", "hop-client", "six", "babamul", "lasair", "confluent-kafka", "pandas", "polars", "duckdb")
READ = f"{ANSWER['object_id']} {ANSWER['top_class']}"
PAGE = (ROOT / "docs" / "output.md").read_text()


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of an environment with the clients."""
    folder = Path(os.environ.get("ALERT_CLASSIFIER_CLIENTS", ROOT / ".cache" / "clients"))
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        made = subprocess.run([folder / "bin" / "pip", "install", "--quiet", *CLIENTS], check=False)
        if made.returncode:
            shutil.rmtree(folder)
            pytest.skip(f"the clients can't be installed: {', '.join(CLIENTS)}")
    return folder / "bin" / "python"


@pytest.fixture
def filled(cluster: Cluster) -> Cluster:
    """A topic of each format with one answer in it."""
    kinds = ("container", "json", "body")
    outputs = [OutputSettings(topic=f"{kind}-{cluster.name}", format=kind) for kind in kinds]
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers})
    for message in Outputs(KafkaSettings(output_topic=cluster.output, outputs=outputs)).messages(ANSWER):
        cluster.make_topic(message.topic, 1)
        producer.produce(message.topic, message.value, message.key, headers=message.headers)
    assert producer.flush(30) == 0
    return cluster


def block(title: str, cluster: Cluster, tmp_path: Path) -> str:
    """The code under a title of the page, for this cluster's topics."""
    found = re.search(rf"### {title}\n.*?```(?:python|sh)\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    schema = tmp_path / "classification.avsc"
    schema.write_text(CLASSIFICATION.text)
    code = found[1].replace("http://localhost:8000/schemas/classification.avsc", schema.as_uri())
    code = code.replace("localhost:9092", cluster.bootstrap_servers).replace(
        '"alert-classifications"', f'"{cluster.output}"'
    )
    return re.sub(r"alerts-(container|json|body)", rf"\1-{cluster.name}", code).replace(
        '"mine"', f'"mine-{cluster.name}"'
    )


@pytest.mark.parametrize(
    ("title", "answers"),
    [("fastavro", 1), ("hop", 2), ("fink-client", 1), ("babamul", 1), ("lasair", 1), ("pandas, polars and DuckDB", 3)],
)
def test_a_client_of_the_field_reads_our_answers(
    python: Path, filled: Cluster, tmp_path: Path, title: str, answers: int
) -> None:
    done = subprocess.run(
        [python, "-c", block(title, filled, tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [READ] * answers, done.stderr


@pytest.mark.skipif(shutil.which("kcat") is None, reason="needs kcat")
def test_kcat_reads_json(filled: Cluster, tmp_path: Path) -> None:
    done = subprocess.run(["sh", "-c", block("kcat", filled, tmp_path)], capture_output=True, text=True, timeout=60)
    assert f'"object_id":"{ANSWER["object_id"]}"' in done.stdout, done.stderr
