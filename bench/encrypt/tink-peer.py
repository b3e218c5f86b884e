"""Google Tink as a peer of `npm run bench -- encrypt`: reads a command a line, answers each with records per second.

    seal|open SIZE AAD_BYTES MILLISECONDS
"""

import os
import sys
import time

import tink
from tink import aead

BURST = 100

aead.register()
primitive = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM).primitive(aead.Aead)

for line in sys.stdin:
    what, size, aad_bytes, milliseconds = line.split()
    plaintext, associated = os.urandom(int(size)), os.urandom(int(aad_bytes))
    sealed = primitive.encrypt(plaintext, associated)
    if primitive.decrypt(sealed, associated) != plaintext:
        sys.exit("what was sealed did not open")
    run, data = (primitive.encrypt, plaintext) if what == "seal" else (primitive.decrypt, sealed)
    start, count, elapsed = time.perf_counter(), 0, 0.0
    while elapsed * 1000 < int(milliseconds):
        for _ in range(BURST):
            run(data, associated)
        count += BURST
        elapsed = time.perf_counter() - start
    print(count / elapsed, flush=True)
