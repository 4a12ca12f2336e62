#!/bin/sh
# nested-pandas==0.7.2
# Expected: a frame of objects, indexed by object id as nested-pandas wants it, keeps its index through
# to_parquet and read_parquet, as pandas' own frames do.
# Seen: the index is lost: objects come back as 0, 1, 2. Light curves that are joined by object id then find
# other objects, or none.
# Why it matters here: HATS catalogues and archives of light curves are handled so.
# Exits with 1 where it is no longer so.
set -eu
sed -n '2,/^# Exits/s/^# //p' "$0"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --no-compile --disable-pip-version-check nested-pandas==0.7.2
environment/bin/python - <<'END'
import pandas as pd
from nested_pandas import NestedFrame, read_parquet

objects = NestedFrame({"ra": [1.0, 2.0, 3.0]}, index=pd.Index([0, 1, 2], name="object_id"))
sources = pd.DataFrame({"mjd": [1.0, 2.0, 3.0, 4.0]}, index=[0, 1, 2, 2])
chosen = objects.join_nested(sources, "light_curve").query("ra > 1.5")
chosen.to_parquet("nested.parquet")
pd.DataFrame(chosen[["ra"]]).to_parquet("plain.parquet")
again, plain = read_parquet("nested.parquet"), pd.read_parquet("plain.parquet")
print("index that was written:", chosen.index.tolist(), "pandas reads:", plain.index.tolist(), "nested-pandas reads:", again.index.tolist())
joined = again.join_nested(sources, "second")
print("mjd of the first object before:", chosen["light_curve"].iloc[0]["mjd"].tolist(), "and after joining again:", joined["second"].iloc[0]["mjd"].tolist())
assert plain.index.tolist() == chosen.index.tolist() == [1, 2] and again.index.tolist() == [0, 1]
assert joined["second"].iloc[0]["mjd"].tolist() != chosen["light_curve"].iloc[0]["mjd"].tolist()
END
