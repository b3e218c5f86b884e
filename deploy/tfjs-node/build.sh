#!/usr/bin/env bash
# Builds the addon of @tensorflow/tfjs-node against the libtensorflow of a current PyPI wheel.
#
# Why: the addon that npm downloads is of 2022; its GPU form wants CUDA 11.2, and where its host is refused there is none.
# A wheel of TensorFlow carries the same C API with its headers, for today's processors and for CUDA 12.
#
#   deploy/tfjs-node/build.sh [cpu | cuda] [FOLDER]
#
# cpu (default) takes the wheel `tensorflow-cpu`, cuda takes `tensorflow` and the NVIDIA libraries that it names
# (about 6 GB on the disk; the driver must be there). FOLDER is a project that gets node_modules/@tensorflow/tfjs-node
# or tfjs-node-gpu (default: the current folder). A folder below a project that has @tensorflow/tfjs shares that one: two copies of the
# library in one process would each know only their own backends.
#
# Needs: Linux x86-64 with glibc 2.27 or later, node, npm, g++ (C++17), python3 with pip (only to fetch). Takes 1 GB for
# cpu and some minutes. Changes nothing outside FOLDER/node_modules; again after an `npm ci`, which removes it.
set -euo pipefail

tensorflow=2.21.0
addon=4.22.0
headers=1.9.0
python=3.11
platform=manylinux_2_27_x86_64

kind=${1:-cpu}
folder=${2:-.}
case $kind in
cpu) wheel=tensorflow-cpu name=tfjs-node ;;
cuda) wheel=tensorflow name=tfjs-node-gpu ;;
*)
  echo "usage: $0 [cpu | cuda] [FOLDER]" >&2
  exit 2
  ;;
esac
if [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "This build is for Linux on x86-64; elsewhere use train.backend webgpu, wasm or cpu." >&2
  exit 1
fi
for tool in node npm g++ python3; do
  if ! command -v "$tool" >/dev/null; then
    echo "$tool is missing: install it and run this again." >&2
    exit 1
  fi
done
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The package without its install script, which would download the old library.
if [ -f "$folder/package.json" ]; then
  npm install --prefix "$folder" --no-save --no-package-lock --ignore-scripts --no-audit --no-fund \
    "@tensorflow/$name@$addon"
else
  # Made apart and moved, because npm would climb to a project above.
  echo '{"private": true}' >"$work/package.json"
  npm install --prefix "$work" --ignore-scripts --no-audit --no-fund "@tensorflow/$name@$addon"
  rm -rf "$folder/node_modules"
  mv "$work/node_modules" "$folder/node_modules"
  if (cd "$folder/.." && node -e 'require.resolve("@tensorflow/tfjs")' 2>/dev/null); then
    find "$folder/node_modules/@tensorflow" -mindepth 1 -maxdepth 1 ! -name "$name" -exec rm -rf {} +
  fi
fi
package=$folder/node_modules/@tensorflow/$name

# The library and its headers. Any Python version's wheel has the same library; pip checks its hash.
fetch() { # folder, then what to fetch
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --python-version "$python" --platform "$platform" --platform manylinux2014_x86_64 --dest "$@"
}
fetch "$work/wheel" "$wheel==$tensorflow"
rm -rf "$package/deps"
mkdir -p "$package/deps/lib" "$work/headers"
python3 - "$work" "$package/deps" "$kind" <<'PYTHON'
import pathlib, re, shutil, sys, zipfile
work, deps, kind = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
wheel = zipfile.ZipFile(next((work / "wheel").glob("*.whl")))
for name in wheel.namelist():
    if name.startswith("tensorflow/include/"):
        wheel.extract(name, work / "headers")
    elif re.fullmatch(r"tensorflow/lib[^/]*\.so\.2", name):
        with wheel.open(name) as source, open(deps / "lib" / pathlib.Path(name).name, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
wanted = re.findall(r'^Requires-Dist: (nvidia-[^; ]+) ?(?:\(?([^;)]*)\)?)?;.*and-cuda', wheel.read(metadata).decode(), re.M)
lines = [name + version.strip() for name, version in wanted] if kind == "cuda" else []
(work / "nvidia.txt").write_text("".join(line + "\n" for line in lines))
PYTHON
if [ "$kind" = cuda ]; then
  # The library looks for them beside its own folder, at ../nvidia/*/lib.
  fetch "$work/nvidia" --requirement "$work/nvidia.txt"
  for file in "$work"/nvidia/*.whl; do
    python3 -m zipfile -e "$file" "$package/deps"
  done
  find "$package/deps" -maxdepth 1 -name '*.dist-info' -exec rm -rf {} +
fi

# Headers of Node-API: a package of the Node.js project.
npm install --prefix "$work/api" --no-audit --no-fund "node-api-headers@$headers" >/dev/null
mkdir -p "$package/lib/napi-v8"
g++ -std=c++17 -O2 -shared -fPIC -w -DNAPI_VERSION=8 -DNODE_GYP_MODULE_NAME=tfjs_binding \
  -I "$work/headers/tensorflow/include" -I "$work/api/node_modules/node-api-headers/include" -I "$package/.." \
  "$package/binding/tfjs_backend.cc" "$package/binding/tfjs_binding.cc" \
  -o "$package/lib/napi-v8/tfjs_binding.node" \
  -L "$package/deps/lib" -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 \
  -Wl,-rpath,'$ORIGIN/../../deps/lib'

# A product on it, so that a build that cannot work is known now.
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=2 node -e '
  const util = require("node:util");
  util.isNullOrUndefined ??= (value) => value === null || value === undefined;
  util.isArray = Array.isArray;
  const tf = require(process.argv[1]);
  const product = tf.matMul(tf.tensor2d([[2, 3]]), tf.tensor2d([[5], [7]])).dataSync()[0];
  if (tf.getBackend() !== "tensorflow" || product !== 31) process.exit(1);
  console.log(`Built: libtensorflow ${tf.backend().binding.TF_Version}, GPU ${tf.backend().isUsingGpuDevice ? "in use" : "not in use"}.`);
' "@tensorflow/$name"
echo "Next: set train.backend to $name (or leave auto, which measures it) and run sealstream from ${folder}."
