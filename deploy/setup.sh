#!/bin/sh
# Prepares a fresh pipeline for docker-compose.yml: pipeline file, topics, keys. Doing it again changes nothing.
#
# One container plays all zones here, which is right for trying Sealstream and wrong for production: there each zone
# makes its own keys on its own machine, and only public keys meet (see SECURITY.md).
set -eu

file=/pipeline/pipeline.yaml

if [ ! -e "$file" ]; then
  cp examples/digits/form.schema.json /pipeline/
  # Written under another name first, so that an interrupted copy is not taken for a pipeline file.
  cp examples/digits/pipeline.yaml "$file.new"
  mv "$file.new" "$file"
fi
node bin/sealstream.js check "$file"
node bin/sealstream.js topics "$file"
if ! grep -q '^zones:' "$file"; then
  node bin/sealstream.js keys create "$file" --keys /keys
fi
