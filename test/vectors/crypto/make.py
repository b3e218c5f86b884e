"""Makes the committed vectors of this folder, and checks our messages with them. Run outside the repository's toolchain:

    python3 -m venv venv && venv/bin/pip install pycose==1.1.0 cbor2==5.9.0 cryptography==50.0.2 cwt==3.3.0
    venv/bin/python make.py [FOLDER WITH gcmEncryptExtIV256.rsp.gz, gcmDecrypt256.rsp.gz, oaep-sha256-sha256.txt AND
                             hpke_rfc9180_x25519.json]
    venv/bin/python make.py check

cose.json: messages made by an independent implementation. COSE_Encrypt0 and COSE_Sign1 are made by pycose, which has
no ChaCha20/Poly1305: those messages are made by python-cwt. pycose 1.1.0 has no X25519 for key agreement with key wrap, so the COSE_Encrypt message is put together from pycose's KDF context and
the primitives of pyca/cryptography (X25519, HKDF, AES key wrap, AES-GCM). All inputs are fixed: it is deterministic.
wrap.json: recipients of P-256 and RSA. pycose has both (KeyAgreementWithKeyWrap, KeyWrap); the messages around them are
put together here, because their AAD hashes the recipients. RSA keys and OAEP seeds are random, so this file is new with
every run; the P-256 half is not.
gcm256.json: the subset of NIST CAVP that Sealstream uses (96-bit IV, 128-bit tag).
oaep256.json: what pyca built for OAEP with SHA-256, reshaped, nothing left out.
hpke.json: RFC 9180 with X25519, base mode, AES-256-GCM and ChaCha20-Poly1305.
check: opens the messages of ours.json (made by make-ours.ts) with pycose, X25519 with pyca/cryptography.
"""

import gzip
import hashlib
import json
import sys
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cwt import COSE, COSEKey
from pycose.algorithms import A256GCM, A256KW, EcdhEsA256KW, EdDSA, RsaesOaepSha256
from pycose.headers import IV, KID, Algorithm, EphemeralKey, StaticKey, SuppPubOther
from pycose.keys import EC2Key, OKPKey, RSAKey, SymmetricKey
from pycose.keys.curves import P256, Ed25519
from pycose.messages import Enc0Message, EncMessage, Sign1Message
from pycose.messages.context import CoseKDFContext, SuppPubInfo
from pycose.messages.recipient import KeyAgreementWithKeyWrap, KeyWrap

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


BOX_LABEL = "sealstream/sealed-box/v1"
X25519_KTY = 1


def box(cek, iv, aad, plaintext, recipients):
    """A sealed box around recipients that are made already."""
    protected = canonical({1: 3})
    external = canonical([BOX_LABEL, aad, hashlib.sha256(canonical(recipients)).digest()])
    structure = canonical(["Encrypt", protected, external])
    ciphertext = AESGCM(cek).encrypt(iv, plaintext, structure)
    body = [protected, {5: iv}, ciphertext, recipients]
    return canonical(cbor2.CBORTag(96, body)).hex()


def encrypt():
    cases = []
    for number, count in enumerate([1, 3]):
        privates = [fixed(f"x25519 {number} {i}") for i in range(count)]
        publics = [raw(X25519PrivateKey.from_private_bytes(p).public_key()) for p in privates]
        cek, iv = fixed(f"box cek {number}"), fixed(f"box iv {number}")[:12]
        aad, plaintext = f"aad {number}".encode(), b"a dead letter" * number
        recipients = [
            wrap(cek, public, fixed(f"ephemeral {number} {i}"), BOX_LABEL.encode())
            for i, public in enumerate(publics)
        ]
        cases.append(
            {
                "privateKeys": [p.hex() for p in privates],
                "aad": aad.hex(),
                "plaintext": plaintext.hex(),
                "message": box(cek, iv, aad, plaintext, recipients),
            }
        )
    return cases


def pkcs8(key):
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def spki(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def point(key):
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def public_of(key):
    """How Sealstream spells a public key."""
    if isinstance(key, X25519PrivateKey):
        return raw(key.public_key())
    return point(key) if isinstance(key, ec.EllipticCurvePrivateKey) else spki(key)


def p256_key(label):
    return ec.derive_private_key(int.from_bytes(fixed(label), "big") >> 1, ec.SECP256R1())


def cose_ec2(key):
    numbers = key.private_numbers()
    size = {"x": numbers.public_numbers.x, "y": numbers.public_numbers.y, "d": numbers.private_value}
    return EC2Key(crv=P256, **{name: n.to_bytes(32, "big") for name, n in size.items()})


def cose_rsa(key):
    n = key.private_numbers()
    parts = {
        "n": n.public_numbers.n,
        "e": n.public_numbers.e,
        "d": n.d,
        "p": n.p,
        "q": n.q,
        "dp": n.dmp1,
        "dq": n.dmq1,
        "qinv": n.iqmp,
    }
    return RSAKey(**{name: p.to_bytes((p.bit_length() + 7) // 8, "big") for name, p in parts.items()})


def wrap_p256(cek, key, ephemeral, other):
    """By pycose; only the spelling of the ephemeral key (which parts, in which order) is ours."""
    sender = cose_ec2(ephemeral)
    recipient = KeyAgreementWithKeyWrap(
        phdr={Algorithm: EcdhEsA256KW},
        uhdr={KID: kid_of(point(key)), EphemeralKey: sender},
        payload=cek,
        key=sender,
    )
    recipient.local_attrs = {StaticKey: cose_ec2(key), SuppPubOther: other}
    protected, _, ciphertext = recipient.encode()
    cose_key = {1: 2, -1: 1, -2: sender.x, -3: sender.y}
    return [protected, {4: kid_of(point(key)), -1: cose_key}, ciphertext]


def wrap_rsa(cek, key):
    recipient = KeyWrap(
        uhdr={Algorithm: RsaesOaepSha256, KID: kid_of(spki(key))}, payload=cek, key=cose_rsa(key)
    )
    protected, _, ciphertext = recipient.encode()
    return [protected, {1: RsaesOaepSha256.identifier, 4: kid_of(spki(key))}, ciphertext]


def wrapped_boxes():
    rsa_keys = [rsa.generate_private_key(65537, bits) for bits in (2048, 3072)]
    p256_keys = [p256_key("p-256 0"), p256_key("p-256 1")]
    x25519 = X25519PrivateKey.from_private_bytes(fixed("x25519 beside others"))
    cases = []
    for number, keys in enumerate(
        [[p256_keys[0]], [rsa_keys[0]], [p256_keys[1], rsa_keys[1], x25519, p256_keys[0]]]
    ):
        cek, iv = fixed(f"wrap cek {number}"), fixed(f"wrap iv {number}")[:12]
        recipients = []
        for i, key in enumerate(keys):
            if isinstance(key, X25519PrivateKey):
                ephemeral = fixed(f"wrap ephemeral {number} {i}")
                recipients.append(wrap(cek, raw(key.public_key()), ephemeral, BOX_LABEL.encode()))
            elif isinstance(key, ec.EllipticCurvePrivateKey):
                ephemeral = p256_key(f"wrap ephemeral {number} {i}")
                recipients.append(wrap_p256(cek, key, ephemeral, BOX_LABEL.encode()))
            else:
                recipients.append(wrap_rsa(cek, key))
        aad, plaintext = f"aad {number}".encode(), b"for several kinds of keys"
        cases.append(
            {
                "keys": [
                    {"pkcs8": pkcs8(key).hex(), "publicKey": public_of(key).hex()} for key in keys
                ],
                "contentKey": cek.hex(),
                "aad": aad.hex(),
                "plaintext": plaintext.hex(),
                "message": box(cek, iv, aad, plaintext, recipients),
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


def oaep(folder):
    """Keys by the names of JWK, with their messages; all in hex of whole bytes."""
    names = {
        "Modulus": "n",
        "Exponent": "d",
        "Public exponent": "e",
        "Prime 1": "p",
        "Prime 2": "q",
        "Prime exponent 1": "dp",
        "Prime exponent 2": "dq",
        "Coefficient": "qi",
    }
    groups, part = [], ""
    lines = iter((Path(folder) / "oaep-sha256-sha256.txt").read_text().splitlines())
    for line in lines:
        title = line.removeprefix("# ").rstrip(":")
        if title in ("Public key", "Private key"):
            part = title
        if title == "Public key":
            groups.append({"key": {}, "cases": []})
        if not line.endswith(":") or not line.startswith("#"):
            continue
        value = next(lines)
        value = value.zfill(len(value) + len(value) % 2)
        if title == "Message":
            groups[-1]["cases"].append({"message": value})
        elif title == "Encryption":
            groups[-1]["cases"][-1]["ciphertext"] = value
        elif part == "Private key":
            groups[-1]["key"][names[title]] = value
    return groups


def hpke(folder):
    kept = []
    for case in json.loads((Path(folder) / "hpke_rfc9180_x25519.json").read_text()):
        if case["mode"] == 0 and case["aead_id"] in (2, 3):
            case.pop("exports")
            kept.append(case)
    return kept


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


def unwrap_x25519(recipient, private, other):
    protected, unprotected, ciphertext = recipient
    context = CoseKDFContext(A256KW, SuppPubInfo(32, cbor2.loads(protected), other)).encode()
    sender = X25519PublicKey.from_public_bytes(unprotected[-1][-2])
    kek = HKDF(algorithm=SHA256(), length=32, salt=None, info=context).derive(private.exchange(sender))
    return aes_key_unwrap(kek, ciphertext)


def opened(message, recipient, private, other):
    """The plaintext of a COSE_Encrypt, by pycose, through one of its recipients."""
    if isinstance(private, X25519PrivateKey):
        cek = unwrap_x25519(recipient, private, other)
        message.key = SymmetricKey(k=cek)
        return super(EncMessage, message).decrypt()
    [found] = [r for r in message.recipients if r.uhdr[KID] == kid_of(public_of(private))]
    is_rsa = isinstance(private, rsa.RSAPrivateKey)
    found.key = cose_rsa(private) if is_rsa else cose_ec2(private)
    found.local_attrs = {SuppPubOther: other}
    return message.decrypt(found)


def check():
    """Opens what Sealstream sealed; says how much of it."""
    ours = json.loads((HERE / "ours.json").read_text())
    count = 0
    for one in ours["boxes"]:
        for key in one["privateKeys"]:
            private = load_der_private_key(bytes.fromhex(key), None)
            encoded = bytes.fromhex(one["message"])
            recipients = cbor2.loads(encoded).value[3]
            kid = kid_of(public_of(private))
            [recipient] = [r for r in recipients if r[1][4] == kid]
            body = cbor2.loads(encoded).value[:3]
            # pycose cannot read recipients of X25519; it is handed the others. The AAD is over all of them.
            readable = [r for r in recipients if r[1].get(-1, {}).get(1) != X25519_KTY]
            message = EncMessage.decode(canonical(cbor2.CBORTag(96, [*body, readable])))
            message.external_aad = canonical(
                [BOX_LABEL, bytes.fromhex(one["aad"]), hashlib.sha256(canonical(recipients)).digest()]
            )
            plaintext = opened(message, recipient, private, BOX_LABEL.encode())
            assert plaintext == bytes.fromhex(one["plaintext"])
            count += 1
    for one in ours["dataKeys"]:
        signed = Sign1Message.decode(bytes.fromhex(one["recordValue"]))
        signer = bytes.fromhex(one["signer"])
        signed.key = OKPKey(crv=Ed25519, x=signer)
        signed.external_aad = b"sealstream/keys/v1|" + one["pipeline"].encode()
        assert signed.verify_signature()
        payload = cbor2.loads(signed.payload)
        other = canonical(
            ["sealstream/data-key/v1", one["pipeline"], payload["topic"], payload["lane"], payload["kid"]]
        )
        [recipient] = payload["recipients"]
        private = load_der_private_key(bytes.fromhex(one["privateKey"]), None)
        if isinstance(private, X25519PrivateKey):
            cek = unwrap_x25519(recipient, private, other)
        else:
            kind = KeyWrap if isinstance(private, rsa.RSAPrivateKey) else KeyAgreementWithKeyWrap
            found = kind.from_cose_obj(list(recipient), True)
            found.key = cose_rsa(private) if kind is KeyWrap else cose_ec2(private)
            found.local_attrs = {SuppPubOther: other}
            cek = found.decrypt(A256GCM)
        envelope = Enc0Message.decode(bytes.fromhex(one["envelope"]))
        envelope.key = SymmetricKey(k=cek)
        envelope.external_aad = canonical(
            ["sealstream/envelope/v1", one["pipeline"], payload["topic"], payload["lane"], b"id", 1, {}]
        )
        assert envelope.decrypt() == bytes.fromhex(one["plaintext"])
        count += 1
    print(f"opened {count} of our messages")


if sys.argv[1:] == ["check"]:
    check()
    sys.exit()
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
write(
    "wrap.json",
    {
        "madeBy": "pycose 1.1.0, cbor2 5.9.0, cryptography 50.0.2 (make.py)",
        "boxes": wrapped_boxes(),
    },
)
if len(sys.argv) > 1:
    write("gcm256.json", gcm(sys.argv[1]))
    write("oaep256.json", oaep(sys.argv[1]))
    write("hpke.json", hpke(sys.argv[1]))
