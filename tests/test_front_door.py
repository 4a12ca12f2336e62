"""`alert_classifier`: the promised names work, are quick to reach, and all errors of ours have one ancestor."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import alert_classifier
import service
from alert_classifier import AlertClassifierError, Classifier, LightCurve, load_bundle

ROOT = Path(__file__).resolve().parents[1]
# They never leave the module that raises them.
INTERNAL = {"NotCompilableError", "OvertakenError", "ProblemError"}


def test_a_light_curve_is_classified_through_the_front_door() -> None:
    classifier = Classifier(load_bundle(), threads=1)
    light_curve = LightCurve.from_columns([60313.3, 60316.2, 60319.3], [1, 0, 1], mag=[19.8, 19.1, 18.7], magerr=0.1)
    [prediction] = classifier.classify([light_curve])
    assert prediction.top_class in load_bundle().manifest.classes


def test_the_folder_of_a_bundle_may_be_a_string() -> None:
    with pytest.raises(AlertClassifierError, match="nowhere is not a folder"):
        load_bundle("nowhere")


def test_every_promised_name_is_there_and_documented() -> None:
    page = (ROOT / "docs" / "python.md").read_text()
    for name in alert_classifier.__all__:
        assert getattr(alert_classifier, name) is not None
        assert f"`{name}`" in page, f"docs/python.md does not mention {name}"
    with pytest.raises(AttributeError, match="no attribute 'Classifer'"):
        alert_classifier.Classifer  # noqa: B018


def test_it_is_installed_with_the_service(tmp_path: Path) -> None:
    """Given a folder that is not the repository, then the installed front door and its type marker are found."""
    program = "import alert_classifier; from importlib import resources; "
    program += "print(resources.files(alert_classifier).joinpath('py.typed').is_file())"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "True", done.stderr


def test_a_consumer_waits_for_no_runtime() -> None:
    program = "import sys, alert_classifier; alert_classifier.decode_classification; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"onnxruntime", "numba", "torch", "pandas"} & set(done.stdout.split())


def test_every_error_of_ours_has_one_ancestor() -> None:
    strangers = []
    for module in pkgutil.walk_packages(service.__path__, "service."):
        for name, value in vars(importlib.import_module(module.name)).items():
            own = isinstance(value, type) and issubclass(value, Exception) and value.__module__ == module.name
            if (
                own
                and not name.startswith("_")
                and name not in INTERNAL
                and not issubclass(value, AlertClassifierError)
            ):
                strangers.append(f"{module.name}.{name}")
    assert strangers == []


def test_bands_are_named_or_coded_and_columns_have_one_value_per_point() -> None:
    named = LightCurve.from_columns([1.0, 2.0, 3.0], ["r", "g", "o"], mag=19.0, survey=["ztf", "ztf", "atlas"])
    coded = LightCurve.from_columns([1.0, 2.0, 3.0], [1, 0, 7], mag=[19.0] * 3, survey=[0, 0, 2], kind="detection")
    assert named.pack() == coded.pack()
    assert (
        LightCurve.from_columns([1.0, 2.0], "r", mag=[19.0, None], kind=["detection", "upper_limit"]).n_detections == 1
    )


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"band": ["red"]}, "band has unknown values red; known are g, r"),
        ({"band": [1, 0]}, r"band has shape \(2,\), mjd \(1,\)"),
        ({"band": [9]}, "band has a code that is none; there are 0 g, 1 r"),
        ({"band": [1.0]}, "band must be names"),
        ({"band": [None]}, "band must be names"),
        ({"survey": "sdss"}, "survey has unknown values sdss"),
        ({"mag": ["bright"]}, "mag must be numbers"),
        ({"mag": [19.0, 18.0]}, r"mag has shape \(2,\)"),
        ({"mjd": 60313.3}, "mjd must be a list of times"),
        ({"mjd": ["monday"]}, "mjd must be numbers"),
        ({"mjd": [float("nan")]}, "mjd of point 0"),
    ],
)
def test_a_wrong_column_is_named(columns: dict[str, object], says: str) -> None:
    given = {"mjd": [60313.3], "band": [1], "mag": [19.8]} | columns
    with pytest.raises(AlertClassifierError, match=says):
        LightCurve.from_columns(given.pop("mjd"), given.pop("band"), **given)


def test_one_value_is_not_spread_over_several_points() -> None:
    with pytest.raises(AlertClassifierError, match="one value per point"):
        LightCurve.from_columns([1.0, 2.0], [1], mag=[19.0, 18.0])


def test_a_light_curve_alone_is_told_to_stand_in_a_list() -> None:
    with pytest.raises(AlertClassifierError, match=r"classify\(\[light_curve\]\)"):
        Classifier(load_bundle(), threads=1).classify(LightCurve.empty())  # type: ignore[arg-type]
