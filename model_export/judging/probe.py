"""Quality of an encoder: a logistic probe on frozen embeddings, and fine-tuning with few labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional
from tqdm import tqdm

from model_export.data.batches import Batch, BatchStream, ReferencePool, sampling_weights
from model_export.data.scores import macro_f1
from model_export.data.tables import Dataset
from model_export.network.encoder import AlertClassifier, AlertEncoder
from model_export.network.predict import ALL, predict
from model_export.training.loop import LoopConfig, Training, train
from model_export.training.run import FinetuneConfig

LABELS_PER_CLASS: Final = (10, 50, 200)
REGULARISATION: Final = 10.0  # C of the published probe
FEWEST_TEST_OBJECTS: Final = 5  # a class with one test object would change a mean over classes by 0.07


def few_labels(data: Dataset, per_class: int, seed: int) -> Dataset:
    """At most `per_class` random objects of each class of `data`; the 10 are among the 50."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data))
    rank = np.empty(len(data), dtype=np.int64)
    for label in np.unique(data.labels):
        mine = order[data.labels[order] == label]
        rank[mine] = np.arange(len(mine))
    return data.where((rank < per_class) & (data.labels >= 0))


def probe(encoder: AlertEncoder, few: Dataset, test: Dataset, config: FinetuneConfig) -> dict[str, float]:
    """Multinomial logistic regression on standardised embeddings, C = 10."""
    model = AlertClassifier(config.encoder)
    model.encoder.load_state_dict(encoder.state_dict())
    inside, outside = (predict(model, d, config.parameters, (ALL,))[ALL] for d in (few, test))
    machine = make_pipeline(
        StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=2000, class_weight="balanced")
    )
    machine.fit(inside.embedding, inside.labels)
    return _scores(outside.labels, machine.predict(outside.embedding))


def finetune_few(
    encoder: AlertEncoder | None, few: Dataset, test: Dataset, config: FinetuneConfig, steps: int, seed: int
) -> dict[str, float]:
    """Train the whole network on few labels, from a pre-trained encoder or from scratch, all else being equal."""
    torch.manual_seed(seed)
    model = AlertClassifier(config.encoder)
    if encoder is not None:
        model.encoder.load_state_dict(encoder.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=config.weight_decay)
    stream = BatchStream(
        few, sampling_weights(few, 0.0, 0.0), ReferencePool(few), config.view, config.parameters, 64, seed
    )
    labels = torch.from_numpy(few.labels.copy())

    def learning_rate(step: int) -> float:
        return config.learning_rate * 0.5 * min((step + 1) / 50, 1.0) * (1 - step / steps)

    def loss_of(batch: Batch) -> torch.Tensor:
        embedding = model.dropout(model.encoder(batch.points, batch.context, batch.bias))
        return functional.cross_entropy(model.head(embedding), labels[batch.rows])

    training = Training.start(model, optimizer, learning_rate, LoopConfig(steps, steps, average_decay=0.99))
    for _ in train(training, stream, loss_of):
        pass  # no judging during training
    found = predict(training.average, test, config.parameters, (ALL,))[ALL]
    return _scores(found.labels, found.logits.argmax(axis=1))


def label_curve(
    encoder: AlertEncoder, data: Dataset, config: FinetuneConfig, steps: int = 400, draws: int = 10
) -> dict[str, Any]:
    """Pre-trained against scratch at 10, 50 and 200 labels per class, on the test split.

    For each method [mean, standard deviation] over draws of labels; `gain` is the gain of fine-tuning by pre-training,
    [mean, standard error of the mean] of the differences of each draw.
    """
    labelled = (data.labels >= 0) & data.objects["table"].isin(["transients", "alert_objects", "variables_dr"])
    labelled_data = data.where(labelled.to_numpy())
    trained, test = labelled_data.split("train"), labelled_data.split("test")
    torch.manual_seed(0)
    random = AlertEncoder(config.encoder)
    jobs = [(n, seed) for n in LABELS_PER_CLASS for seed in range(1, draws + 1)]
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for per_class, seed in tqdm(jobs, desc="label curve"):
        few = few_labels(trained, per_class, seed)
        row = results.setdefault(str(per_class), {})
        row.setdefault("probe_pretrained", []).append(probe(encoder, few, test, config))
        row.setdefault("probe_random", []).append(probe(random, few, test, config))
        row.setdefault("finetune_pretrained", []).append(finetune_few(encoder, few, test, config, steps, seed))
        row.setdefault("finetune_scratch", []).append(finetune_few(None, few, test, config, steps, seed))
    return {
        size: {"steps": steps, "draws": draws}
        | {way: {key: _mean_and_spread([run[key] for run in runs]) for key in runs[0]} for way, runs in ways.items()}
        | {"gain": _gain(ways["finetune_pretrained"], ways["finetune_scratch"])}
        for size, ways in results.items()
    }


def _mean_and_spread(values: Sequence[float]) -> list[float]:
    return [round(float(np.mean(values)), 4), round(float(np.std(values)), 4)]


def _gain(with_it: list[dict[str, float]], without: list[dict[str, float]]) -> dict[str, list[float]]:
    found = {}
    for key in with_it[0]:
        mean, spread = _mean_and_spread([a[key] - b[key] for a, b in zip(with_it, without, strict=True)])
        found[key] = [mean, round(spread / max(len(without) - 1, 1) ** 0.5, 4)]
    return found


def _scores(truth: NDArray[np.int64], decided: NDArray[np.int64]) -> dict[str, float]:
    """Means over the classes with enough test objects."""
    labels, number = np.unique(truth, return_counts=True)
    common = labels[number >= min(FEWEST_TEST_OBJECTS, number.max())]
    mine = np.isin(truth, common)
    return {
        "balanced_accuracy": float(np.mean([np.mean(decided[truth == label] == label) for label in common])),
        "macro_f1": macro_f1(truth[mine], decided[mine], common),
    }
