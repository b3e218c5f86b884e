"""Golden vectors of test/network/keras.test.ts: layers as Keras computes them. pip install keras torch numpy, then: KERAS_BACKEND=torch python keras-layers.py keras-layers.json"""
import json, sys
import numpy as np, keras, torch
rng = np.random.default_rng(8)
def u(*shape, scale=1.0): return (np.round(rng.uniform(-scale, scale, shape) * 1024) / 1024).astype(np.float32)
def flat(a): return [float(v) for v in np.asarray(a, dtype=np.float64).reshape(-1)]
cases = []
def case(name, network, layers, x, weights):
    model = keras.Sequential([keras.Input(shape=x.shape[1:], dtype=("int32" if x.dtype.kind == "i" else "float32")), *layers])
    for layer, own in zip([l for l in layers if l.weights], weights): layer.set_weights(own)
    y = model(x)
    y = y.detach().cpu().numpy() if hasattr(y, "detach") else np.asarray(y)
    cases.append({"name": name, "network": network, "inputs": [flat(r) for r in x],
                  "weights": [[flat(w) for w in own] for own in weights], "outputs": [flat(r) for r in y]})
L = keras.layers
def gru_w(f, n): return [u(f, 3*n), u(n, 3*n), u(2, 3*n)]
def lstm_w(f, n): return [u(f, 4*n), u(n, 4*n), u(4*n)]
def dense_w(i, o): return [u(i, o), u(o)]
x = u(3, 5, 3)
case("gru", [{"reshape": [5, 3]}, {"gru": 4}, {"dense": 2}], [L.GRU(4), L.Dense(2)], x, [gru_w(3, 4), dense_w(4, 2)])
case("gru, every state", [{"reshape": [5, 3]}, {"gru": 2, "sequences": True}, {"dense": 2}], [L.GRU(2, return_sequences=True), L.Flatten(), L.Dense(2)], x, [gru_w(3, 2), dense_w(10, 2)])
case("lstm", [{"reshape": [5, 3]}, {"lstm": 4}, {"dense": 2}], [L.LSTM(4), L.Dense(2)], x, [lstm_w(3, 4), dense_w(4, 2)])
case("lstm, every state, gru behind", [{"reshape": [5, 3]}, {"lstm": 2, "sequences": True}, {"gru": 3}, {"dense": 2}],
     [L.LSTM(2, return_sequences=True), L.GRU(3), L.Dense(2)], x, [lstm_w(3, 2), gru_w(2, 3), dense_w(3, 2)])
case("rnn by tanh", [{"reshape": [5, 3]}, {"rnn": 4, "activation": "tanh"}, {"dense": 2}], [L.SimpleRNN(4), L.Dense(2)], x, [[u(3, 4), u(4, 4), u(4)], dense_w(4, 2)])
for padding, strides in (("valid", 1), ("valid", 2), ("same", 1), ("same", 2)):
    xs = u(2, 7, 2)
    n = {"valid": (7 - 4)//strides + 1, "same": -(-7//strides)}[padding]
    case(f"conv1d {padding}, stride {strides}", [{"reshape": [7, 2]}, {"conv1d": 3, "kernelSize": 4, "strides": strides, "padding": padding, "activation": "relu"}, {"dense": 2}],
         [L.Conv1D(3, 4, strides=strides, padding=padding, activation="relu"), L.Flatten(), L.Dense(2)], xs, [[u(4, 2, 3), u(3)], dense_w(n*3, 2)])
case("maxPool2d", [{"reshape": [5, 6, 2]}, {"maxPool2d": [3, 2], "strides": [1, 2]}, {"dense": 2}], [L.MaxPooling2D((3, 2), strides=(1, 2)), L.Flatten(), L.Dense(2)], u(2, 5, 6, 2), [dense_w(18, 2)])
case("maxPool1d", [{"reshape": [7, 3]}, {"maxPool1d": 3, "strides": 2}, {"dense": 2}], [L.MaxPooling1D(3, strides=2), L.Flatten(), L.Dense(2)], u(2, 7, 3), [dense_w(9, 2)])
case("averagePool1d", [{"reshape": [7, 3]}, {"averagePool1d": 2, "strides": 2}, {"dense": 2}], [L.AveragePooling1D(2), L.Flatten(), L.Dense(2)], u(2, 7, 3), [dense_w(9, 2)])
case("globalAveragePool", [{"reshape": [3, 4, 2]}, {"globalAveragePool": True}, {"dense": 2}], [L.GlobalAveragePooling2D(), L.Dense(2)], u(2, 3, 4, 2), [dense_w(2, 2)])
case("layerNorm", [{"dense": 5, "activation": "none"}, {"layerNorm": 0.001, "activation": "softplus"}, {"dense": 2}],
     [L.Dense(5), L.LayerNormalization(), L.Activation("softplus"), L.Dense(2)], u(2, 4), [dense_w(4, 5), [u(5), u(5)], dense_w(5, 2)])
case("layerNorm of each step", [{"reshape": [4, 3]}, {"layerNorm": 0.001, "activation": "none"}, {"dense": 2}],
     [L.LayerNormalization(), L.Flatten(), L.Dense(2)], u(2, 4, 3), [[u(3), u(3)], dense_w(12, 2)])
case("embedding", [{"embedding": 3, "vocabulary": 6}, {"gru": 2}, {"dense": 2}], [L.Embedding(6, 3), L.GRU(2), L.Dense(2)],
     rng.integers(0, 6, (3, 4)).astype(np.int32), [[u(6, 3)], gru_w(3, 2), dense_w(2, 2)])
for a in ("relu", "tanh", "sigmoid", "softplus"):
    case(a, [{"dense": 4, "activation": a}, {"dense": 2}], [L.Dense(4, activation=a), L.Dense(2)], u(2, 3, scale=3), [dense_w(3, 4), dense_w(4, 2)])
json.dump({"made": f"keras {keras.__version__} on torch {torch.__version__}, float32, seed 8", "cases": cases}, open(sys.argv[1], "w"))
print(len(cases))
