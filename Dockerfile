# syntax=docker/dockerfile:1
# One image for every stage and for the tools: the service says which command runs.

FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY asconfig.json ./
COPY plugins plugins
COPY pipeline pipeline
COPY schemas schemas
# WebAssembly modules into build/wasm; the compiler and the test tools are not shipped.
RUN npm run build:wasm && npm prune --omit=dev

FROM node:24-slim
# node 24 runs the TypeScript sources as they are: nothing else has to be built.
WORKDIR /app
ENV NODE_ENV=production
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/build/wasm build/wasm
COPY package.json ./
COPY bin bin
COPY pipeline pipeline
COPY schemas schemas
# Templates of `plugin new`.
COPY plugins plugins
COPY examples/digits/pipeline.yaml examples/digits/form.schema.json examples/digits/
COPY --chmod=755 deploy/setup.sh deploy/stage-health.js deploy/
# Named volumes take the owner of the folder they are mounted on.
RUN mkdir -p /pipeline /keys && chown node:node /pipeline /keys && chmod 700 /keys
USER node
ENTRYPOINT ["node", "bin/sealstream.js"]
CMD ["--help"]
