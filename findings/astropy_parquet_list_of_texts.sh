#!/bin/sh
# astropy==8.0.2 pyarrow==26.0.1 pandas==3.1.1 numpy==2.4.6
# Expected: a Parquet column of lists of texts, such as an alert's flags, is read whole, or refused.
# Seen: each text is cut to as many letters as its list has entries: the length of the list is taken for the
# longest text.
# Why it matters here: classifications have lists of class names and flags; 'SNIa' and 'SNIbc' both become 'SN'.
# Exits with 1 where it is no longer so.
set -eu
sed -n '2,/^# Exits/s/^# //p' "$0"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --no-compile --disable-pip-version-check astropy==8.0.2 pyarrow==26.0.1 pandas==3.1.1 numpy==2.4.6
environment/bin/python - <<'END'
import pyarrow as pa
import pyarrow.parquet
from astropy.table import Table

sets = pa.array([["SNIa", "SNIbc"]], pa.list_(pa.string()))
pyarrow.parquet.write_table(pa.table({"conformal_set": sets}), "answers.parquet")
seen = list(Table.read("answers.parquet")["conformal_set"][0])
print("written:", ["SNIa", "SNIbc"], "read:", [str(text) for text in seen])
assert [str(text) for text in seen] == ["SN", "SN"]
END
