#!/bin/sh
# fastavro==1.13.1 avro==1.12.2
# Expected: the CRC-64-AVRO fingerprint, which tells a reader of single-object messages which schema it needs,
# is the same in every library, as the canonical form that it is made of leaves out logicalType.
# Seen: Apache's Python package keeps logicalType in its canonical form, so the two disagree where there is one,
# and agree on the same schema without it.
# Why it matters here: a message with a timestamp-micros field is refused by readers of the other family. Ours
# has times as plain longs.
# Exits with 1 where it is no longer so.
set -eu
sed -n '2,/^# Exits/s/^# //p' "$0"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --no-compile --disable-pip-version-check fastavro==1.13.1 avro==1.12.2
environment/bin/python - <<'END'
import json
import avro.schema
import fastavro.schema

def schema(time):
    return {"type": "record", "name": "Classification", "fields": [{"name": "candid", "type": "long"}, {"name": "observed", "type": time}]}

def both(time):
    text = json.dumps(schema(time))
    one = fastavro.schema.fingerprint(fastavro.schema.to_parsing_canonical_form(json.loads(text)), "CRC-64-AVRO")
    return one, avro.schema.parse(text).fingerprint("CRC-64-AVRO").hex()

logical, plain = both({"type": "long", "logicalType": "timestamp-micros"}), both("long")
print("with a logical type, fastavro and avro:", *logical)
print("without:", *plain)
assert plain[0] == plain[1] and logical[0] != logical[1] and logical[0] == plain[0]
END
