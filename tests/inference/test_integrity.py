"""All files of a bundle are sealed together; where keys are trusted, one of them must have signed the seal."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import minisign
import pytest

from service.inference import integrity
from service.inference.bundle import FILES, BundleError, default_bundle_folder, load_bundle, seal_bundle
from service.inference.integrity import SIGNATURE, SUMS
from service.inference.registry import ModelRegistry
from tests.inference.tiny_bundle import WriteBundle


@pytest.fixture
def sealed(write_bundle: WriteBundle) -> Path:
    folder = write_bundle()
    seal_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def keys() -> list[minisign.KeyPair]:
    return [minisign.KeyPair.generate() for _ in range(2)]


def sign(folder: Path, pair: minisign.KeyPair) -> str:
    """Sign the bundle; returns the public key in the form of the setting."""
    signature = pair.secret_key.sign((folder / SUMS).read_bytes())
    (folder / SIGNATURE).write_bytes(bytes(signature) + b"\n")
    return public(pair)


def public(pair: minisign.KeyPair) -> str:
    return pair.public_key.to_base64().decode()


def test_two_class_names_that_were_exchanged_are_noticed(sealed: Path) -> None:
    text = (sealed / "manifest.json").read_text()
    swapped = text.replace('"SNIa"', '"?"').replace('"RR"', '"SNIa"').replace('"?"', '"RR"')
    assert list(json.loads(swapped)["taxonomy"]) != list(json.loads(text)["taxonomy"])
    (sealed / "manifest.json").write_text(swapped)
    with pytest.raises(BundleError, match=rf"manifest\.json of {sealed} has sha256 .* but SHA256SUMS says"):
        load_bundle(sealed)


@pytest.mark.parametrize("name", FILES)
def test_a_change_of_any_file_is_noticed_and_may_be_sealed_again(sealed: Path, name: str) -> None:
    before = load_bundle(sealed).digest
    changed = (sealed / name).read_bytes().replace(b"tiny", b"tidy").replace(b"0.5}", b"0.9}")
    (sealed / name).write_bytes(changed)
    with pytest.raises(BundleError, match=name):
        load_bundle(sealed)
    seal_bundle(sealed)
    if name == "model.onnx":  # the manifest still says for which graph it was written
        with pytest.raises(BundleError, match="but its manifest says"):
            load_bundle(sealed)
    else:
        assert load_bundle(sealed).digest not in (None, before)


def test_a_file_that_was_not_sealed_is_not_read(sealed: Path) -> None:
    lines = (sealed / SUMS).read_text().splitlines(keepends=True)
    (sealed / SUMS).write_text("".join(line for line in lines if "metrics" not in line))
    with pytest.raises(BundleError, match=r"SHA256SUMS .* does not list metrics\.json"):
        load_bundle(sealed)


@pytest.mark.parametrize(
    ("sums", "message"),
    [
        (b"nonsense\n", "line 1 of SHA256SUMS"),
        (b"0" * 64 + b"  ../model.onnx\n", "line 1 of SHA256SUMS"),
        ((b"0" * 64 + b"  model.onnx\n") * 2, "lists model.onnx twice"),
        (b"\xff" * 200, "line 1 of SHA256SUMS"),
        (b"#" * (integrity.SUMS_BYTES + 1), "more than 65536 bytes"),
    ],
)
def test_sums_that_are_none_are_refused(sealed: Path, sums: bytes, message: str) -> None:
    (sealed / SUMS).write_bytes(sums)
    with pytest.raises(BundleError, match=message):
        load_bundle(sealed)


@pytest.mark.parametrize("bound", ["MANIFEST_BYTES", "TEXT_BYTES"])
def test_a_manifest_or_text_that_is_too_large_is_refused_before_it_is_parsed(
    sealed: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    name = "manifest.json" if bound == "MANIFEST_BYTES" else "MODEL_CARD.md"
    size = (sealed / name).stat().st_size
    monkeypatch.setattr(f"service.inference.bundle.{bound}", size)
    if bound == "MANIFEST_BYTES":
        assert load_bundle(sealed)
    monkeypatch.setattr(f"service.inference.bundle.{bound}", size - 1)
    with pytest.raises(BundleError, match=rf"{name} of .* has more than {size - 1} bytes"):
        load_bundle(sealed)


def test_a_bundle_of_earlier_versions_is_loaded_with_a_warning(
    write_bundle: WriteBundle, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = load_bundle(write_bundle())
    assert bundle.digest is None
    assert "has no SHA256SUMS" in caplog.text


def test_the_shipped_bundle_is_sealed(caplog: pytest.LogCaptureFixture) -> None:
    assert load_bundle().digest
    assert not caplog.text


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs coreutils")
def test_coreutils_checks_a_bundle_too() -> None:
    checked = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=default_bundle_folder(), check=False)
    assert checked.returncode == 0


def test_a_signed_bundle_is_loaded_with_any_of_the_trusted_keys(sealed: Path, keys: list[minisign.KeyPair]) -> None:
    key = sign(sealed, keys[0])
    assert load_bundle(sealed, [key]).digest
    assert load_bundle(sealed, [public(keys[1]), f"untrusted comment: minisign public key\n{key}\n"]).digest


def test_what_no_trusted_key_has_signed_is_refused(
    sealed: Path, write_bundle: WriteBundle, keys: list[minisign.KeyPair]
) -> None:
    unsealed, trusted = write_bundle(folder="unsealed"), [public(keys[0])]
    with pytest.raises(BundleError, match=r"has no SHA256SUMS, but model\.trusted_keys"):
        load_bundle(unsealed, trusted)
    with pytest.raises(BundleError, match=r"is not signed, but model\.trusted_keys"):
        load_bundle(sealed, trusted)
    sign(sealed, keys[1])
    with pytest.raises(BundleError, match="by any of the 1 keys"):
        load_bundle(sealed, trusted)
    (sealed / SIGNATURE).write_bytes(b"no signature")
    with pytest.raises(BundleError, match="is not a minisign signature"):
        load_bundle(sealed, trusted)
    with pytest.raises(BundleError, match=r"model\.trusted_keys: 'RWnonsense' is not a minisign public key"):
        load_bundle(sealed, ["RWnonsense"])


def test_a_signature_holds_for_the_sums_that_it_was_made_for(sealed: Path, keys: list[minisign.KeyPair]) -> None:
    key, signature = sign(sealed, keys[0]), (sealed / SIGNATURE).read_bytes()
    seal_bundle(sealed)
    assert load_bundle(sealed, [key]), "sealed again without a change: the signature stays"
    (sealed / "MODEL_CARD.md").write_text("# tiny\nAnother.\n")
    seal_bundle(sealed)
    assert not (sealed / SIGNATURE).exists()
    (sealed / SIGNATURE).write_bytes(signature)
    with pytest.raises(BundleError, match="by any of the 1 keys"):
        load_bundle(sealed, [key])


def test_a_running_registry_asks_for_signatures_too(write_bundle: WriteBundle, keys: list[minisign.KeyPair]) -> None:
    first, second = write_bundle(folder="first"), write_bundle(folder="second", version="2.0.0")
    seal_bundle(first)
    seal_bundle(second)
    key = sign(first, keys[0])
    registry = ModelRegistry(load_bundle(first, [key]), threads=1, trusted_keys=[key])
    with pytest.raises(BundleError, match="is not signed"):
        registry.activate(second)
    assert registry.active.version == "1.0.0"
    sign(second, keys[0])
    assert registry.activate(second).version == "2.0.0"


@pytest.mark.skipif(shutil.which("minisign") is None, reason="needs the command minisign")
def test_the_command_minisign_signs_for_us(sealed: Path, tmp_path: Path) -> None:
    public_file, secret_file = tmp_path / "minisign.pub", tmp_path / "minisign.key"
    subprocess.run(["minisign", "-GW", "-p", public_file, "-s", secret_file], check=True, capture_output=True)
    subprocess.run(["minisign", "-SW", "-s", secret_file, "-m", sealed / SUMS], check=True, capture_output=True)
    assert load_bundle(sealed, [public_file.read_text()]).digest
