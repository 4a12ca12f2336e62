"""The classifier as a pandas UDF for Spark, in the form of Fink's science modules.

    from alert_classifier.spark import classifier_udf, classify_alerts

    alerts = spark.read.parquet("year=2026/month=01")
    classify_alerts(alerts).select("objectId", "classification.top_class", "classification.probabilities")

`classifier_udf()` alone takes the columns that Fink's `concat_col` makes, as its other modules do:

    df = df.withColumn("classification", classifier_udf()(
        "cjd", "cfid", "cmagpsf", "csigmapsf", "cisdiffpos", "cdiffmaglim", "cmagnr"))

Every Python worker opens the bundle once.
"""

from typing import Any, Final

from service.archives import known_context, predictions
from service.errors import MissingExtraError

try:
    import pandas as pd
    from pyspark.sql import Column, DataFrame, functions
    from pyspark.sql.functions import pandas_udf
except ImportError as error:
    raise MissingExtraError(f"Spark needs an extra: pip install 'alert-classifier[spark]' ({error})") from error

# Of the answers' fields (docs/output.md) those that belong to a light curve alone.
SCHEMA: Final = (
    "classifier string, version string, top_class string, top_probability double, probabilities map<string, double>,"
    " superclass_probabilities map<string, double>, conformal_set array<string>, ood_score double, flags array<string>"
)
FIELDS: Final = (
    "classifier", "version", "top_class", "top_probability", "probabilities", "superclass_probabilities",
    "conformal_set", "ood_score", "flags",
)  # fmt: skip
# As Fink's pipeline joins them from `prv_candidates` and `candidate`, and what they are to us.
PACKET_COLUMNS: Final = {
    "jd": "jd", "fid": "band", "magpsf": "mag", "sigmapsf": "magerr", "isdiffpos": "sign", "diffmaglim": "limit",
    "magnr": "magnr",
}  # fmt: skip


def classifier_udf(bundle: str | None = None) -> Any:
    """A pandas UDF of the columns jd, fid, magpsf, sigmapsf, isdiffpos, diffmaglim, magnr, each an array of a light
    curve's points. It gives a struct of SCHEMA, the answer to the light curve alone. `bundle`: a folder that every
    worker can read; None: the shipped one.
    """

    @pandas_udf(SCHEMA)  # type: ignore[untyped-decorator]
    def classify(
        jd: pd.Series, fid: pd.Series, magpsf: pd.Series, sigmapsf: pd.Series, isdiffpos: pd.Series,
        diffmaglim: pd.Series, magnr: pd.Series,
    ) -> pd.DataFrame:  # fmt: skip
        return _frame([jd, fid, magpsf, sigmapsf, isdiffpos, diffmaglim, magnr], None, bundle)

    return classify


def _in_context(bundle: str | None = None) -> Any:
    """`classifier_udf` with an eighth argument, a struct of what surrounds the object, named as in `candidate`."""

    @pandas_udf(SCHEMA)  # type: ignore[untyped-decorator]
    def classify(
        jd: pd.Series, fid: pd.Series, magpsf: pd.Series, sigmapsf: pd.Series, isdiffpos: pd.Series,
        diffmaglim: pd.Series, magnr: pd.Series, surroundings: pd.DataFrame,
    ) -> pd.DataFrame:  # fmt: skip
        return _frame([jd, fid, magpsf, sigmapsf, isdiffpos, diffmaglim, magnr], surroundings, bundle)

    return classify


def classify_alerts(alerts: DataFrame, bundle: str | None = None, column: str = "classification") -> DataFrame:
    """Fink's alerts (nested `candidate` and `prv_candidates`, as its Parquet holds them) with the answer to each beside
    it. Each is classified as it was known when it came: by its own history and surroundings.
    """
    candidate = alerts.schema["candidate"].dataType.fieldNames()
    joined = [_history(name) for name in PACKET_COLUMNS]
    around = functions.struct(
        *[functions.col(f"candidate.{name}").cast("double").alias(name) for name in known_context(candidate)]
    )
    return alerts.withColumn(column, _in_context(bundle)(*joined, around))


def _history(name: str) -> Column:
    """The history's values and the alert's own, as Fink's `concat_col` joins them; without a history its own."""
    own = functions.array(functions.col(f"candidate.{name}"))
    return functions.coalesce(functions.concat(functions.col(f"prv_candidates.{name}"), own), own)


def _frame(columns: list[pd.Series], surroundings: pd.DataFrame | None, bundle: str | None) -> pd.DataFrame:
    named = dict(zip(PACKET_COLUMNS.values(), columns, strict=True))
    context = None if surroundings is None else {name: surroundings[name].to_numpy() for name in surroundings}
    fields = [prediction.fields() for prediction in predictions(named, context, bundle)]
    return pd.DataFrame({name: [each[name] for each in fields] for name in FIELDS}, columns=list(FIELDS))
