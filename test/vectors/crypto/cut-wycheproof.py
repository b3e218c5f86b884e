"""Cuts the vectors of Project Wycheproof that concern Sealstream out of its Go module. Needs nothing but Python:

    go mod download -json github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a    (says "Dir")
    python3 cut-wycheproof.py DIR/testvectors_v1 wycheproof
    python3 cut-wycheproof.py DIR/testvectors_v1 FOLDER --all

Kept: every case that is invalid or acceptable, and of the valid ones the first few of each set of flags, of the groups
that concern our algorithms. `--all` keeps every case of those groups. Cases are copied as they are, in their order, with
their numbers; of a group its parameters and its key in one form. `notes` say what kind of bug each flag is about.
"""

import gzip
import json
import sys
from collections import Counter
from pathlib import Path

# Valid cases of each set of flags within a group.
VALID_PER_FLAGS = 8

# Of a group: what its tests need, one form of each key.
GROUP = {"curve", "keySize", "ivSize", "tagSize", "sha", "mgf", "mgfSha", "privateKeyPkcs8", "publicKey"}


def is_oaep_of_interest(group):
    """Ours (SHA-256 twice), and one key each of hashes that may be taken for ours."""
    hashes = (group["sha"], group["mgfSha"])
    others = {("SHA-256", "SHA-1"), ("SHA-1", "SHA-256"), ("SHA-256", "SHA-512"), ("SHA-512", "SHA-512")}
    return hashes == ("SHA-256", "SHA-256") or (group["keySize"] == 2048 and hashes in others)


def is_256(group):
    return group["keySize"] == 256


def every(_):
    return True


# Our name: file of the module, groups that concern us.
FILES = {
    "aes-256-gcm": (["aes_gcm_test"], is_256),
    "chacha20-poly1305": (["chacha20_poly1305_test"], every),
    "x25519": (["x25519_test"], every),
    "x25519-asn": (["x25519_asn_test"], every),
    "p-256": (["ecdh_secp256r1_ecpoint_test"], every),
    "p-256-spki": (["ecdh_secp256r1_test"], every),
    "rsa-oaep-256": (
        [f"rsa_oaep_{bits}_sha256_mgf1sha256_test" for bits in (2048, 3072, 4096)] + ["rsa_oaep_misc_test"],
        is_oaep_of_interest,
    ),
    "hkdf-sha-256": (["hkdf_sha256_test"], every),
    "hmac-sha-256": (["hmac_sha256_test"], every),
    "ed25519": (["ed25519_test"], every),
    "a256kw": (["aes_wrap_test"], is_256),
}

# The cases of these that are not about encodings are those of x25519 and p-256: only what they have beyond them is kept.
ONLY_INVALID = {"x25519-asn"}


def cut_group(group, keeps_all, only_invalid):
    seen = Counter()
    tests = []
    for test in group["tests"]:
        flags = tuple(test["flags"])
        is_valid = test["result"] == "valid"
        seen[flags] += is_valid
        if only_invalid and test["result"] != "invalid":
            continue
        if keeps_all or not is_valid or seen[flags] <= VALID_PER_FLAGS:
            tests.append(test)
    kept = {name: value for name, value in group.items() if name in GROUP}
    if isinstance(kept.get("publicKey"), dict):
        kept["publicKey"] = kept["publicKey"]["pk"]
    return {**kept, "tests": tests}


def cut(folder, name, keeps_all):
    sources, concerns = FILES[name]
    notes, groups = {}, []
    for source in sources:
        data = json.loads((folder / f"{source}.json").read_text())
        wanted = [group for group in data["testGroups"] if concerns(group)]
        groups += [cut_group(group, keeps_all, name in ONLY_INVALID) for group in wanted]
        notes |= data["notes"]
    groups = [group for group in groups if group["tests"]]
    flags = {flag for group in groups for test in group["tests"] for flag in test["flags"]}
    about = {flag: note["bugType"] for flag, note in sorted(notes.items()) if flag in flags}
    return {"source": sources, "notes": about, "groups": groups}


def packed(vectors):
    """Compact JSON, gzip without a date: the same bytes each time."""
    text = json.dumps(vectors, separators=(",", ":"), ensure_ascii=True)
    return gzip.compress(text.encode("ascii"), 9, mtime=0)


def main():
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        vectors = cut(folder, name, "--all" in sys.argv[3:])
        (target / f"{name}.json.gz").write_bytes(packed(vectors))
        results = Counter(test["result"] for group in vectors["groups"] for test in group["tests"])
        print(name, dict(results))


main()
