"""Makes the committed vectors of this folder. Run outside the repository's own toolchain:

    python3 -m venv venv && venv/bin/pip install pycose==1.1.0 cbor2==5.9.0 cryptography==50.0.2 cwt==3.3.0
    venv/bin/python make.py [FOLDER WITH gcmEncryptExtIV256.rsp.gz AND gcmDecrypt256.rsp.gz]

cose.json: messages made by an independent implementation. COSE_Encrypt0 and COSE_Sign1 are made by pycose, which has
no ChaCha20/Poly1305: those messages are made by python-cwt. pycose 1.1.0 has no X25519 for key agreement with key wrap, so the COSE_Encrypt message is put together from pycose's KDF context and
the primitives of pyca/cryptography (X25519, HKDF, AES key wrap, AES-GCM). All inputs are fixed: it is deterministic.
gcm256.json: the subset of NIST CAVP that Sealstream uses (96-bit IV, 128-bit tag).
"""

import gzip
import hashlib
import json
import sys
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cwt import COSE, COSEKey
from pycose.algorithms import A256GCM, A256KW, EdDSA
from pycose.headers import IV, KID, Algorithm
from pycose.keys import OKPKey, SymmetricKey
from pycose.keys.curves import Ed25519
from pycose.messages import Enc0Message, Sign1Message
from pycose.messages.context import CoseKDFContext, SuppPubInfo

HERE = Path(__file__).parent
SEQUENCE = -70001


def raw(public):
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def kid_of(public_bytes):
    return hashlib.sha256(public_bytes).digest()[:16]


def fixed(label):
    """32 fixed bytes that nobody mistakes for a real key."""
    return hashlib.sha256(b"sealstream test vector: " + label.encode()).digest()


def canonical(value):
    return cbor2.dumps(value, canonical=True)


def encrypt0_chacha(key, kid, iv, sequence, plaintext, external):
    """By python-cwt, because pycose has no ChaCha20/Poly1305."""
    return COSE.new().encode(
        plaintext,
        COSEKey.from_symmetric_key(key, alg="ChaCha20/Poly1305", kid=kid),
        protected={1: 24, 4: kid, SEQUENCE: sequence},
        unprotected={5: iv},
        external_aad=external,
    )


def encrypt0():
    cases = []
    shapes = [
        (b"", {}, 0, 0),
        (b"one", {"split": "train"}, 23, 3),
        (bytes(range(256)), {"split": "validate", "a": "\u00e9", "zz": ""}, 24, 255),
        (b"x" * 70000, {}, 2**32, 65536),
        (b"last", {}, 2**53 - 1, 2**32),
    ]
    ciphers = ["aes-256-gcm"] * len(shapes) + ["chacha20-poly1305"] * len(shapes)
    for number, (cipher, shape) in enumerate(zip(ciphers, shapes * 2)):
        plaintext, attributes, sequence, lane = shape
        key, kid = fixed(f"cek {number}"), fixed(f"kid {number}")[:16]
        iv = fixed(f"iv {number}")[:12]
        record_id = f"record \u00e9 {number}".encode()
        external = canonical(
            ["sealstream/envelope/v1", "digits", "examples", lane, record_id, 1, attributes]
        )
        if cipher == "aes-256-gcm":
            encoded = Enc0Message(
                phdr={Algorithm: A256GCM, KID: kid, SEQUENCE: sequence},
                uhdr={IV: iv},
                payload=plaintext,
                external_aad=external,
                key=SymmetricKey(k=key),
            ).encode()
        else:
            encoded = encrypt0_chacha(key, kid, iv, sequence, plaintext, external)
        case = {
            "cipher": cipher,
            "key": key.hex(),
            "kid": kid.hex(),
            "iv": iv.hex(),
            "pipeline": "digits",
            "topic": "examples",
            "lane": lane,
            "recordId": record_id.hex(),
            "schemaVersion": 1,
            "attributes": attributes,
            "sequence": sequence,
            "plaintext": plaintext.hex(),
            "message": encoded.hex(),
        }
        if len(plaintext) > 1000:
            # The bytes are the same ones; only their hash is committed.
            case["plaintext"] = {"byte": plaintext[0], "times": len(plaintext)}
            case["message"] = {"sha256": hashlib.sha256(encoded).hexdigest(), "bytes": len(encoded)}
        cases.append(case)
    return cases


def sign1():
    cases = []
    for number, payload in enumerate([b"", b"payload", bytes(range(256)) * 2]):
        seed = fixed(f"ed25519 {number}")
        public = raw(Ed25519PrivateKey.from_private_bytes(seed).public_key())
        context = f"sealstream/test/v1|digits|{number}"
        message = Sign1Message(
            phdr={Algorithm: EdDSA, KID: kid_of(public)},
            payload=payload,
            external_aad=context.encode(),
        )
        message.key = OKPKey(crv=Ed25519, x=public, d=seed)
        cases.append(
            {
                "seed": seed.hex(),
                "publicKey": public.hex(),
                "context": context,
                "payload": payload.hex(),
                "message": message.encode().hex(),
            }
        )
    return cases


def wrap(cek, public, ephemeral_seed, other):
    protected = {1: -31}
    # pycose wants header classes here only to map them back to numbers.
    context = CoseKDFContext(A256KW, SuppPubInfo(32, protected, other)).encode()
    ephemeral = X25519PrivateKey.from_private_bytes(ephemeral_seed)
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    kek = HKDF(algorithm=SHA256(), length=32, salt=None, info=context).derive(shared)
    cose_key = {1: 1, -1: 4, -2: raw(ephemeral.public_key())}
    return [canonical(protected), {4: kid_of(public), -1: cose_key}, aes_key_wrap(kek, cek)]


def encrypt():
    label = "sealstream/sealed-box/v1"
    cases = []
    for number, count in enumerate([1, 3]):
        privates = [fixed(f"x25519 {number} {i}") for i in range(count)]
        publics = [raw(X25519PrivateKey.from_private_bytes(p).public_key()) for p in privates]
        cek, iv = fixed(f"box cek {number}"), fixed(f"box iv {number}")[:12]
        aad, plaintext = f"aad {number}".encode(), b"a dead letter" * number
        recipients = [
            wrap(cek, public, fixed(f"ephemeral {number} {i}"), label.encode())
            for i, public in enumerate(publics)
        ]
        protected = canonical({1: 3})
        external = canonical([label, aad, hashlib.sha256(canonical(recipients)).digest()])
        structure = canonical(["Encrypt", protected, external])
        ciphertext = AESGCM(cek).encrypt(iv, plaintext, structure)
        body = [protected, {5: iv}, ciphertext, recipients]
        cases.append(
            {
                "privateKeys": [p.hex() for p in privates],
                "aad": aad.hex(),
                "plaintext": plaintext.hex(),
                "message": canonical(cbor2.CBORTag(96, body)).hex(),
            }
        )
    return cases


def data_keys():
    private = fixed("training-unwrap")
    public = raw(X25519PrivateKey.from_private_bytes(private).public_key())
    seed = fixed("owner-signing")
    signer = raw(Ed25519PrivateKey.from_private_bytes(seed).public_key())
    cek, kid = fixed("data key"), fixed("data key id")[:16]
    binding = canonical(["sealstream/data-key/v1", "digits", "examples", 2, kid])
    payload = canonical(
        {
            "v": 1,
            "type": "data-key",
            "generation": 1,
            "topic": "examples",
            "lane": 2,
            "kid": kid,
            "recipients": [wrap(cek, public, fixed("data key ephemeral"), binding)],
        }
    )
    message = Sign1Message(
        phdr={Algorithm: EdDSA, KID: kid_of(signer)},
        payload=payload,
        external_aad=b"sealstream/keys/v1|digits",
    )
    message.key = OKPKey(crv=Ed25519, x=signer, d=seed)
    external = canonical(["sealstream/envelope/v1", "digits", "examples", 2, b"id", 1, {}])
    sealed = Enc0Message(
        phdr={Algorithm: A256GCM, KID: kid, SEQUENCE: 7},
        uhdr={IV: fixed("data key iv")[:12]},
        payload=b"opened through the directory",
        external_aad=external,
        key=SymmetricKey(k=cek),
    )
    return {
        "unwrapKey": private.hex(),
        "signerSeed": seed.hex(),
        "recordKey": f"data-key/{kid.hex()}",
        "recordValue": message.encode().hex(),
        "envelope": sealed.encode().hex(),
        "plaintext": b"opened through the directory".hex(),
    }


def gcm(folder):
    kept = []
    for name in ["gcmEncryptExtIV256", "gcmDecrypt256"]:
        shape, case, cases = {}, {}, []
        for line in gzip.open(Path(folder) / f"{name}.rsp.gz", "rt"):
            line = line.strip()
            if line.startswith("["):
                field, value = line.strip("[]").split(" = ")
                shape[field] = int(value)
            elif line.startswith("Count"):
                case = {}
                if shape["IVlen"] == 96 and shape["Taglen"] == 128:
                    cases.append(case)
            elif line == "FAIL":
                case["FAIL"] = True
            elif " =" in line:
                field, _, value = line.partition(" =")
                case[field.lower()] = value.strip()
        kept.append({"file": f"{name}.rsp", "cases": cases})
    return kept


def write(name, value):
    (HERE / name).write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n")


write(
    "cose.json",
    {
        "madeBy": "pycose 1.1.0, python-cwt 3.3.0, cbor2 5.9.0, cryptography 50.0.2 (make.py)",
        "encrypt0": encrypt0(),
        "sign1": sign1(),
        "encrypt": encrypt(),
        "dataKey": data_keys(),
    },
)
if len(sys.argv) > 1:
    write("gcm256.json", gcm(sys.argv[1]))
