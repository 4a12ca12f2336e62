"""What a bundle reads: the light curves that it is checked and warmed up with are of its own surveys and bands."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.config import Device
from service.inference.batching import lay_end_to_end
from service.inference.bundle import BundleError, load_bundle
from service.inference.classifier import Classifier
from service.inference.preprocessing.registry import PREPROCESSINGS
from service.inference.registry import ModelRegistry
from service.photometry import BAND_CODES, SURVEY_CODES, LightCurve
from tests.inference.tiny_bundle import TAXONOMY, WriteBundle

SIZE = 16


def seen(survey: str, bands: str) -> LightCurve:
    """A detection in each band, a day apart."""
    return LightCurve.from_columns(
        np.arange(len(bands), dtype=np.float64),
        [BAND_CODES[band] for band in bands],
        mag=18.0 + np.arange(len(bands)),
        magerr=0.1,
        sign=1,
        survey=SURVEY_CODES[survey],
    )


def image_graph(*names: str) -> bytes:
    """embedding = mean colour of all images; logits = embedding B. Of several images it also takes `present`."""
    rng = np.random.default_rng(0)
    nodes, means = [], []
    for name in names:
        nodes += [
            helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", [f"{name}_float", "axes"], [f"{name}_mean"], keepdims=0),
        ]
        means.append(f"{name}_mean")
    taken = [helper.make_tensor_value_info(name, TensorProto.UINT8, ["batch", 3, SIZE, SIZE]) for name in names]
    if len(names) > 1:
        taken.append(helper.make_tensor_value_info("present", TensorProto.FLOAT, ["batch", len(names)]))
        means.append("present")
    width = 3 * len(names) + (len(names) if len(names) > 1 else 0)
    nodes += [
        helper.make_node("Concat", means, ["embedding"], axis=1),
        helper.make_node("MatMul", ["embedding", "b"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        taken,
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(TAXONOMY)]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", width]),
        ],
        [
            numpy_helper.from_array(np.array([2, 3]), "axes"),
            numpy_helper.from_array(rng.normal(0, 0.01, (width, len(TAXONOMY))).astype(np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def images(shown: dict[str, dict[str, str]]) -> dict[str, Any]:
    parameters = {"images": shown, "size": SIZE}
    return {"preprocessing": {"id": "light-curve-image/1", "parameters": parameters}, "out_of_distribution": None}


@pytest.mark.parametrize(
    ("shown", "bands", "survey"),
    [
        ({"image": {"atlas": "co"}}, ["c", "o"], "atlas"),
        ({"image": {"atlas": "co"}}, ["g", "r", "o"], "atlas"),
        ({"image": {"lsst": "uy"}}, ["u", "y"], "lsst"),
        ({"ztf_image": {"ztf": "gr"}, "atlas_image": {"atlas": "co"}}, ["g", "r", "c", "o"], "atlas"),
    ],
    ids=["ATLAS alone", "ATLAS in one band", "LSST alone", "ZTF and ATLAS"],
)
def test_a_bundle_is_opened_and_answers_whatever_survey_it_reads(
    write_bundle: WriteBundle, shown: dict[str, dict[str, str]], bands: list[str], survey: str
) -> None:
    """Given images of a survey that is not ZTF, then the bundle is checked and warmed up with what it does read, and
    answers a light curve of it.
    """
    folder = write_bundle(image_graph(*shown), bands=bands, **images(shown))
    classifier = ModelRegistry(load_bundle(folder), Device.CPU, threads=1).active
    of_survey = "".join(band for image in shown.values() for band in image.get(survey, "") if band in bands)
    (answer,) = classifier.classify([seen(survey, of_survey)])
    assert answer.embedding.any()
    assert not {"no_detection", "unusable_photometry", "unknown_band"} & set(answer.flags)


@pytest.mark.parametrize(
    ("survey", "bands", "flags"),
    [
        ("ztf", "gr", set()),
        ("ztf", "gri", {"unknown_band"}),
        ("ztf", "grc", {"unknown_survey"}),
        ("atlas", "co", set()),
        ("atlas", "cog", {"unknown_survey"}),
        ("lsst", "gr", {"unknown_survey", "no_detection", "no_model_for_survey"}),
        ("lsst", "zy", {"unknown_band", "no_detection", "no_model_for_survey"}),
        ("ztf", "z", {"unknown_band", "no_detection"}),
    ],
)
def test_what_a_bundle_reads_is_asked_per_survey_and_band(
    write_bundle: WriteBundle, survey: str, bands: str, flags: set[str]
) -> None:
    """Given images of ZTF in g and r and of ATLAS in c and o, then a point's survey and band say together whether it is
    read; a band that the manifest names and no image shows is not.
    """
    shown = {"ztf_image": {"ztf": "gr"}, "atlas_image": {"atlas": "co"}}
    folder = write_bundle(image_graph(*shown), bands=["g", "r", "i", "c", "o"], minimum_detections=1, **images(shown))
    (answer,) = Classifier(load_bundle(folder), Device.CPU, threads=1).classify([seen(survey, bands)])
    met = set(answer.flags) - {"too_few_points"}
    assert met == flags
    assert (answer.top_class is None) == ("no_detection" in flags)


def test_each_survey_is_answered_by_the_bundle_chosen_for_it(write_bundle: WriteBundle) -> None:
    """Given a bundle for ZTF and one chosen for Rubin, then each light curve gets the answer of its survey's bundle,
    in order; one with points of both, or none, goes to the active one; a bundle of another survey is refused.
    """
    ztf, lsst = {"image": {"ztf": "gr"}}, {"image": {"lsst": "gr"}}
    ours = write_bundle(image_graph("image"), folder="z", name="of-ztf", bands=["g", "r"], **images(ztf))
    theirs = write_bundle(image_graph("image"), folder="l", name="of-lsst", bands=["g", "r"], **images(lsst))
    registry = ModelRegistry(load_bundle(ours), Device.CPU, threads=1)
    both = LightCurve(np.concatenate([seen("lsst", "g").points, seen("ztf", "r").points]))
    curves = [seen("lsst", "gr"), seen("ztf", "gr"), both, seen("atlas", "co"), LightCurve.empty()]
    before = registry.residents.classify(curves)
    assert {answer.classifier for answer in before} == {"of-ztf"}
    assert "no_model_for_survey" in before[0].flags
    registry.choose("lsst", theirs)
    after = registry.residents.classify(curves, [None] * 5)
    assert [answer.classifier for answer in after] == ["of-lsst", "of-ztf", "of-ztf", "of-ztf", "of-ztf"]
    assert after[0].embedding.any()
    assert "no_model_for_survey" not in after[0].flags
    assert [(model.name, role) for model, role in registry.models()] == [("of-ztf", "active"), ("of-lsst", "of_survey")]
    with pytest.raises(BundleError, match=r"of-ztf 1.0.0 reads nothing of lsst"):
        registry.choose("lsst", ours)
    with pytest.raises(BundleError, match="there is no survey rubin"):
        registry.choose("rubin", theirs)


@pytest.mark.parametrize("survey", SURVEY_CODES)
def test_c_and_o_are_read_of_any_survey_where_two_are(survey: str) -> None:
    assert {(survey, "c"), (survey, "o")} <= set(PREPROCESSINGS["two-survey/1"].reads({}))


def test_a_bundle_that_could_answer_nothing_is_refused(write_bundle: WriteBundle) -> None:
    """Given images of ATLAS, when `bands` are left at ZTF's, then every point would be left out."""
    folder = write_bundle(image_graph("image"), **images({"image": {"atlas": "co"}}))
    with pytest.raises(BundleError, match=r"it reads c, o, but bands has g, r, i alone"):
        Classifier(load_bundle(folder), Device.CPU, threads=1)


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
def test_every_preprocessing_makes_something_of_each_band_that_it_is_said_to_read(preprocessing: str) -> None:
    read = PREPROCESSINGS[preprocessing].reads({})
    assert read
    for survey, band in read:
        (inputs,) = PREPROCESSINGS[preprocessing].inputs(*lay_end_to_end([seen(survey, band)]), {})
        assert any(array.any() for array in inputs.values())
