"""presidio-anonymizer as a peer: json.loads, its engine on four fields with given findings, json.dumps; one core.

    anonymizer.py INPUT OUTPUT KEY

Input and output: u32 count, then u32 length and bytes each, little-endian. Does everything once and writes it, says
"ready", then for each line "MS" on standard input works for that long and answers with records a second.
"""

import hmac
import json
import struct
import sys
import time

from presidio_anonymizer import AnonymizerEngine
from presidio_anonymizer.entities import OperatorConfig, RecognizerResult


def read_items(path):
    data = open(path, "rb").read()
    (count,) = struct.unpack_from("<I", data)
    items, at = [], 4
    for _ in range(count):
        (length,) = struct.unpack_from("<I", data, at)
        items.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return items


def write_items(path, items):
    parts = [struct.pack("<I", len(items))]
    for item in items:
        parts += [struct.pack("<I", len(item)), item]
    open(path, "wb").write(b"".join(parts))


KEY = sys.argv[3].encode()
ENGINE = AnonymizerEngine()
PSEUDONYM = OperatorConfig("custom", {"lambda": lambda text: hmac.new(KEY, text.encode(), "sha256").hexdigest()})
REMOVED = OperatorConfig("replace", {"new_value": "removed"})


def anonymize(text, operator):
    found = [RecognizerResult("FIELD", 0, len(text), 1.0)]
    return ENGINE.anonymize(text=text, analyzer_results=found, operators={"FIELD": operator}).text


def mask(text):
    parameters = {"masking_char": "*", "chars_to_mask": len(text) - 1, "from_end": True}
    return OperatorConfig("mask", parameters)


def desensitize(item):
    record = json.loads(item)
    record["name"] = anonymize(record["name"], mask(record["name"]))
    record["email"] = anonymize(record["email"], PSEUDONYM)
    record["phone"] = anonymize(record["phone"], PSEUDONYM)
    record["note"] = anonymize(record["note"], REMOVED)
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


items = read_items(sys.argv[1])
write_items(sys.argv[2], [desensitize(item) for item in items])
print("ready", flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    done = 0
    while (time.perf_counter() - start) * 1000 < float(line):
        desensitize(items[done % len(items)])
        done += 1
    print(done / (time.perf_counter() - start), flush=True)
