"""TenSEAL as a peer of `npm run bench -- predict`: its `sealapi` (native SEAL) and its own `CKKSTensor`.

A line of JSON in, a line of JSON out:

    {"op": "open", "id", "kind": batch | replicated | keys | tensor, ...}  -> {"ok": true, "logits", "bytesIn", "bytesOut"}
    {"op": "turn", "id", "ms"}                                             -> {"perSecond", "phases": {name: ms a unit}}
    {"op": "close", "id"}                                                  -> {"ok": true}

Times are CPU time of the whole process, which is pinned to one core and computes with one thread: nothing that a
library does in a thread of its own is left out. Loading and saving are SEAL's, through a file in memory where the
system has one (`sealapi` knows no other way), with the compression SEAL chooses by itself. Encrypting, decrypting and
encoding the weights are never timed. Circuits are the ones of `ours`: see bench/predict/cases.ts for scales and levels.
"""

import json
import os
import sys
import tempfile
import time

import tenseal as ts
import tenseal.sealapi as seal

# Above this many products weights are encoded as they are needed: held ready they would fill gigabytes.
MOST_ENCODED = 4_000

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
clock = time.process_time


class Phases:
    """Adds up CPU time by name."""

    def __init__(self):
        self.spent = {}
        self.last = clock()

    def done(self, name):
        now = clock()
        self.spent[name] = self.spent.get(name, 0.0) + now - self.last
        self.last = now


class Chain:
    """A parameter set with its keys."""

    def __init__(self, degree, bits, steps=()):
        settings = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
        settings.set_poly_modulus_degree(degree)
        settings.set_coeff_modulus(seal.CoeffModulus.Create(degree, bits))
        self.context = seal.SEALContext(settings, True, seal.SEC_LEVEL_TYPE.TC128)
        if not self.context.parameters_set():
            raise ValueError("SEAL refuses the parameters")
        self.slots = degree // 2
        generator = seal.KeyGenerator(self.context)
        public, self.relin = seal.PublicKey(), seal.RelinKeys()
        generator.create_public_key(public)
        generator.create_relin_keys(self.relin)
        self.galois = seal.GaloisKeys()
        if steps:
            # Because this overload wants Galois elements: a rotation by a step is the automorphism of 3^step.
            elements = [pow(3, step, 2 * degree) for step in steps]
            generator.create_galois_keys(elements, self.galois)
        self.encryptor = seal.Encryptor(self.context, public)
        self.decryptor = seal.Decryptor(self.context, generator.secret_key())
        self.encoder = seal.CKKSEncoder(self.context)
        self.evaluator = seal.Evaluator(self.context)

    def cipher(self):
        return seal.Ciphertext(self.context)

    def encode(self, values, scale, like=None):
        """A plaintext, at the level of a ciphertext if one is given."""
        plain = seal.Plaintext()
        if like is None:
            self.encoder.encode(values, scale, plain)
        else:
            self.encoder.encode(values, like.parms_id(), scale, plain)
        return plain

    def encrypt(self, values, scale):
        made = self.cipher()
        self.encryptor.encrypt(self.encode(values, scale), made)
        return made

    def decrypt(self, cipher):
        plain = seal.Plaintext()
        self.decryptor.decrypt(cipher, plain)
        return self.encoder.decode_double(plain)


def column(rows, feature, slots):
    """A feature of every record, one a slot; the records repeat until the slots are full."""
    return [rows[slot % len(rows)][feature] for slot in range(slots)]


class Batch:
    """A ciphertext a feature, a record a slot: dense, square, dense."""

    def __init__(self, job, folder):
        self.job = job
        self.chain = Chain(job["degree"], job["bits"])
        self.units = self.chain.slots
        self.paths = []
        for feature in range(len(job["rows"][0])):
            path = os.path.join(folder, f"{job['id']}-{feature}")
            values = column(job["rows"], feature, self.units)
            self.chain.encrypt(values, 2.0 ** job["inputBits"]).save(path)
            self.paths.append(path)
        self.out = os.path.join(folder, f"{job['id']}-out")
        self.ready = {}
        self.results = []

    def weight(self, layer, row, place, like):
        """An encoded weight, kept where there are few enough."""
        key = (layer, row, place)
        if key in self.ready:
            return self.ready[key]
        value = self.job["layers"][layer]["matrix"][row][place]
        plain = self.chain.encode(value, 2.0 ** self.job["weightBits"][layer], like)
        if sum(len(one["matrix"]) * len(one["matrix"][0]) for one in self.job["layers"]) <= MOST_ENCODED:
            self.ready[key] = plain
        return plain

    def dense(self, layer, inputs):
        evaluator, scale = self.chain.evaluator, 2.0 ** self.job["weightBits"][layer]
        product, outputs = self.chain.cipher(), []
        for row, weights in enumerate(self.job["layers"][layer]["matrix"]):
            total = None
            for place, value in enumerate(weights):
                # A weight that rounds to zero would make a transparent ciphertext, which SEAL refuses.
                if round(value * scale) == 0:
                    continue
                plain = self.weight(layer, row, place, inputs[place])
                if total is None:
                    total = self.chain.cipher()
                    evaluator.multiply_plain(inputs[place], plain, total)
                else:
                    evaluator.multiply_plain(inputs[place], plain, product)
                    evaluator.add_inplace(total, product)
            outputs.append(total)
        return outputs

    def add_bias(self, layer, outputs):
        for cipher, bias in zip(outputs, self.job["layers"][layer]["bias"]):
            plain = self.chain.encode(bias, cipher.scale, cipher)
            self.chain.evaluator.add_plain_inplace(cipher, plain)

    def run(self, phases):
        chain, evaluator, job = self.chain, self.chain.evaluator, self.job
        inputs = []
        for path in self.paths:
            cipher = chain.cipher()
            cipher.load(chain.context, path)
            inputs.append(cipher)
        phases.done("load")
        hidden = self.dense(0, inputs)
        if job["rescale"]:
            for cipher in hidden:
                evaluator.rescale_to_next_inplace(cipher)
        self.add_bias(0, hidden)
        phases.done("layer 1")
        for cipher in hidden:
            evaluator.square_inplace(cipher)
            if job["rescale"]:
                evaluator.relinearize_inplace(cipher, chain.relin)
                evaluator.rescale_to_next_inplace(cipher)
        phases.done("square")
        self.results = self.dense(1, hidden)
        self.add_bias(1, self.results)
        phases.done("layer 2")
        for cipher in self.results:
            cipher.save(self.out)
        phases.done("save")

    def check(self):
        """Logits of the first records, and the bytes of a pack."""
        columns = [self.chain.decrypt(cipher) for cipher in self.results]
        bytes_in = sum(os.path.getsize(path) for path in self.paths)
        bytes_out = os.path.getsize(self.out) * len(self.results)
        count = min(len(self.job["rows"]), self.units)
        return [[column[row] for column in columns] for row in range(count)], bytes_in, bytes_out


class Replicated:
    """One ciphertext; vectors and steps come from bench/predict/replicated.ts."""

    def __init__(self, job, folder):
        self.job = job
        self.units = job["records"]
        self.chain = Chain(job["degree"], job["bits"], job["first"] + job["second"])
        self.path = os.path.join(folder, f"{job['id']}-in")
        self.out = os.path.join(folder, f"{job['id']}-out")
        self.chain.encrypt(job["input"], 2.0 ** job["inputBits"]).save(self.path)
        self.plain = [None] * 4
        self.result = None

    def encoded(self, index, cipher, scale):
        """A vector of the model, encoded once."""
        if self.plain[index] is None:
            self.plain[index] = self.chain.encode(self.job["vectors"][index], scale, cipher)
        return self.plain[index]

    def rotate_and_add(self, cipher, steps):
        turned = self.chain.cipher()
        for step in steps:
            self.chain.evaluator.rotate_vector(cipher, step, self.chain.galois, turned)
            self.chain.evaluator.add_inplace(cipher, turned)

    def run(self, phases):
        chain, evaluator, job = self.chain, self.chain.evaluator, self.job
        cipher = chain.cipher()
        cipher.load(chain.context, self.path)
        phases.done("load")
        scales = [2.0**bits for bits in job["weightBits"]]
        evaluator.multiply_plain_inplace(cipher, self.encoded(0, cipher, scales[0]))
        self.rotate_and_add(cipher, job["first"])
        evaluator.add_plain_inplace(cipher, self.encoded(1, cipher, cipher.scale))
        phases.done("layer 1")
        evaluator.square_inplace(cipher)
        evaluator.relinearize_inplace(cipher, chain.relin)
        evaluator.rescale_to_next_inplace(cipher)
        phases.done("square")
        evaluator.multiply_plain_inplace(cipher, self.encoded(2, cipher, scales[1]))
        self.rotate_and_add(cipher, job["second"])
        evaluator.add_plain_inplace(cipher, self.encoded(3, cipher, cipher.scale))
        phases.done("layer 2")
        cipher.save(self.out)
        phases.done("save")
        self.result = cipher

    def check(self):
        values = self.chain.decrypt(self.result)
        logits = [[values[slot] for slot in slots] for slots in self.job["logitSlots"]]
        return logits, os.path.getsize(self.path), os.path.getsize(self.out)


class Keys:
    """One operation with keys, over and over on the same ciphertext."""

    def __init__(self, job, _folder):
        self.chain = Chain(job["degree"], job["bits"], job["steps"])
        self.steps, self.operation = job["steps"], job["operation"]
        self.units = 1 if self.operation == "relinearize" else len(self.steps)
        self.cipher = self.chain.encrypt(job["values"], 2.0 ** job["inputBits"])
        self.squared = self.chain.cipher()
        self.chain.evaluator.square(self.cipher, self.squared)
        self.target = self.chain.cipher()

    def run(self, phases):
        evaluator, chain = self.chain.evaluator, self.chain
        if self.operation == "relinearize":
            evaluator.relinearize(self.squared, chain.relin, self.target)
        else:
            for step in self.steps:
                evaluator.rotate_vector(self.cipher, step, chain.galois, self.target)
        phases.done(self.operation)

    def check(self):
        return [self.chain.decrypt(self.target)], 0, 0


class Tensor:
    """What a user of TenSEAL writes: a batched CKKSTensor and `mm`, which rescales and relinearizes by itself."""

    def __init__(self, job, _folder):
        self.job = job
        self.context = ts.context(
            ts.SCHEME_TYPE.CKKS, job["degree"], coeff_mod_bit_sizes=job["bits"], n_threads=1
        )
        self.context.global_scale = 2.0 ** job["inputBits"]
        self.units = job["degree"] // 2
        # Records first: `batch` puts them into the slots and leaves a 1 x features matrix of ciphertexts.
        rows = [[job["rows"][slot % len(job["rows"])]] for slot in range(self.units)]
        self.packed = ts.ckks_tensor(self.context, ts.plain_tensor(rows), batch=True).serialize()
        # A tensor multiplies from the left: matrices are [in][out].
        self.matrices = [
            ts.plain_tensor([list(line) for line in zip(*layer["matrix"])]) for layer in job["layers"]
        ]
        self.biases = [ts.plain_tensor(layer["bias"]) for layer in job["layers"]]
        self.result = None

    def run(self, phases):
        tensor = ts.ckks_tensor_from(self.context, self.packed)
        phases.done("load")
        tensor = tensor.mm(self.matrices[0]) + self.biases[0]
        phases.done("layer 1")
        tensor.square_()
        phases.done("square")
        tensor = tensor.mm(self.matrices[1]) + self.biases[1]
        phases.done("layer 2")
        self.result = tensor.serialize()
        phases.done("save")

    def check(self):
        logits = ts.ckks_tensor_from(self.context, self.result).decrypt().tolist()
        return [row[0] for row in logits[: len(self.job["rows"])]], len(self.packed), len(self.result)


KINDS = {"batch": Batch, "replicated": Replicated, "keys": Keys, "tensor": Tensor}


def turn(case, least_ms):
    """Runs a case for about that long."""
    phases, start, runs = Phases(), clock(), 0
    while runs == 0 or (clock() - start) * 1000 < least_ms:
        case.run(phases)
        runs += 1
    units = runs * case.units
    spent = {name: seconds * 1000 / runs for name, seconds in phases.spent.items()}
    return {"perSecond": units / (clock() - start), "phases": spent}


def main():
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    cases = {}
    with tempfile.TemporaryDirectory(prefix="sealstream-bench-", dir=memory) as folder:
        for line in sys.stdin:
            job = json.loads(line)
            try:
                if job["op"] == "open":
                    case = cases[job["id"]] = KINDS[job["kind"]](job, folder)
                    case.run(Phases())
                    logits, bytes_in, bytes_out = case.check()
                    answer = {"ok": True, "units": case.units, "logits": logits}
                    answer |= {"bytesIn": bytes_in, "bytesOut": bytes_out}
                elif job["op"] == "turn":
                    answer = turn(cases[job["id"]], job["ms"])
                else:
                    del cases[job["id"]]
                    answer = {"ok": True}
            except Exception as error:  # Told to the benchmark, which reports the case as missing.
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)


main()
