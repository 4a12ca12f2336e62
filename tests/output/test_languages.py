"""A published message is read by Avro's libraries of other languages: Java, Rust, Go (both), as they are published.

A schema with a logical type was read by Java and fastavro alone: the others compute another fingerprint.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from service.output.avro import CLASSIFICATION
from tests.output.answers import ANSWER, MICROSECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROGRAMS = Path(__file__).parent / "languages"
COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
READ = f"{ANSWER['object_id']} {ANSWER['candid']} {MICROSECONDS}"


def output(*command: str | Path, cwd: Path | None = None) -> list[str]:
    """Lines of standard output of a program that must succeed."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


@pytest.fixture
def message(tmp_path: Path) -> tuple[Path, Path]:
    """Files with the newest schema and with a message as it is published."""
    schema, value = tmp_path / "classification.avsc", tmp_path / "message"
    schema.write_text(CLASSIFICATION.text)
    value.write_bytes(CLASSIFICATION.encode(ANSWER))
    return schema, value


@needs("java", "mvn")
def test_java_reads_it(message: tuple[Path, Path], tmp_path: Path) -> None:
    jars = tmp_path / "jars"
    output("mvn", "-q", "-B", "-f", PROGRAMS / "pom.xml", COPY_DEPENDENCIES, f"-DoutputDirectory={jars}")
    assert output("java", "-cp", f"{jars}/*", PROGRAMS / "Reader.java", *message) == [READ]


@needs("go")
def test_go_reads_it_with_both_its_libraries(message: tuple[Path, Path], tmp_path: Path) -> None:
    reader = tmp_path / "reader"
    output("go", "build", "-o", reader, ".", cwd=PROGRAMS / "go")
    assert output(reader, *message) == [READ, READ]


@needs("cargo")
def test_rust_reads_it(message: tuple[Path, Path]) -> None:
    built = PROGRAMS.parents[2] / ".cache" / "rust-reader"  # seventy crates: minutes at the first time
    output("cargo", "build", "--quiet", "--locked", "--target-dir", built, cwd=PROGRAMS / "rust")
    assert output(built / "debug" / "reader", *message) == [READ]
