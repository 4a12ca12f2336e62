#!/bin/sh
# astropy==8.0.2 numpy==2.4.6
# Expected: a masked value of a table is masked when it is read again from FITS or from VOTable, as masked
# numbers are.
# Seen: a masked boolean comes back from FITS as True and not masked, and a masked text from VOTable (BINARY2)
# as the text under the mask.
# Why it matters here: quality flags become true and withdrawn values return, in the two formats that archives
# exchange.
# Exits with 1 where it is no longer so.
set -eu
sed -n '2,/^# Exits/s/^# //p' "$0"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --no-compile --disable-pip-version-check astropy==8.0.2 numpy==2.4.6
environment/bin/python - <<'END'
import numpy as np
from astropy.table import Table

table = Table(
    {
        "flux": np.ma.MaskedArray([1.5, 2.5], mask=[True, False]),
        "is_dipole": np.ma.MaskedArray([False, False], mask=[True, False]),
        "class": np.ma.MaskedArray(["withdrawn", "SNIa"], mask=[True, False]),
    }
)
table.write("table.fits")
table.write("table.vot", format="votable", tabledata_format="binary2")
fits, votable = Table.read("table.fits"), Table.read("table.vot")
print("FITS:", fits["flux"][0], fits["is_dipole"][0], "VOTable:", votable["flux"][0], votable["class"][0])
assert fits["flux"][0] is np.ma.masked and votable["flux"][0] is np.ma.masked
assert fits["is_dipole"][0] is not np.ma.masked and bool(fits["is_dipole"][0])
assert votable["class"][0] is not np.ma.masked and str(votable["class"][0]) == "withdrawn"
END
