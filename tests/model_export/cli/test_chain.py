"""From tables to a judged bundle with one command, in its smallest configuration."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.slow]

from model_export.cli import main
from service.inference.bundle import load_bundle
from service.inference.manifest import Manifest


@pytest.mark.real_data
@pytest.mark.timeout(1800)
def test_the_whole_chain_makes_a_bundle_that_beats_chance(real_data: Path, tmp_path: Path):
    result = CliRunner().invoke(main, ["run", "--data", str(real_data), "--out", str(tmp_path), "--small"])
    assert result.exit_code == 0, result.output
    manifest = Manifest.model_validate_json((tmp_path / "bundle" / "manifest.json").read_text())
    assert len(manifest.classes) == 14
    figures = json.loads((tmp_path / "bundle" / "metrics.json").read_text())
    assert figures["alert_objects"]["all"]["superclass_accuracy"][0] > 0.6
    assert set(figures["label_curves"][0]) == {"10", "50", "200"}
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    assert "pre-trained contrastively for 100 steps" in card
    assert "mean answer of 2 networks" in card
    assert "it follows 2 others instead" in card
    assert (tmp_path / "report" / "report.md").exists()
    verified = CliRunner().invoke(
        main, ["verify", "--bundle", str(tmp_path / "bundle"), "--run", str(tmp_path / "final")]
    )
    assert verified.exit_code == 0, verified.output
    assert load_bundle(tmp_path / "bundle").digest, "graph, manifest, figures and card were sealed as each was written"
