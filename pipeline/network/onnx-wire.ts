/**
 * ONNX files, as far as a network needs them: a graph of named nodes to protobuf bytes.
 *
 * Source: onnx.proto of github.com/onnx/onnx, IR version 8, and the protobuf encoding. Hand-written because six message
 * types of plain fields are all there is. The same graph gives the same bytes. Must not know a network.
 *
 *   Model   = 1:irVersion=8 2:producer 7:Graph 8:Opset{1:"" 2:17} *14:{1:key 2:value}
 *   Graph   = *1:Node 2:name *5:Tensor 11:ValueInfo 12:ValueInfo
 *   Node    = *1:input 2:output 3:name 4:operator *5:Attribute
 *   Attribute = 1:name 20:1 2:float32 | 1:name 20:2 3:integer | 1:name 20:7 *8:integer
 *   Tensor  = *1:dimension 2:type(1 float32, 7 int64) 8:name 9:little-endian data
 *   ValueInfo = 1:name 2:{1:{1:1 2:{1:{2:"batch"} 1:{1:width}}}}
 * with n:x a field n, integers as varints, the rest length-delimited.
 */

/** [integers] or one number; an integer is an `i`, any other a float. */
export type OnnxAttribute = { readonly i: number } | { readonly f: number } | readonly number[];

export interface OnnxNode {
  readonly operator: string;
  readonly inputs: readonly string[];
  readonly output: string;
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

export interface OnnxTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Float32 or int64. */
  readonly values: Float32Array | readonly number[];
}

export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[];
  readonly tensors: readonly OnnxTensor[];
  readonly input: { readonly name: string; readonly width: number };
  readonly output: { readonly name: string; readonly width: number };
  readonly metadata: Readonly<Record<string, string>>;
}

const IR_VERSION = 8;
const OPSET = 17;
const VARINT = 0;
const BYTES = 2;
const FIXED32 = 5;
const FLOAT_TYPE = 1;
const INT64_TYPE = 7;
const INT64_BYTES = 8;

/** A file of the graph; a new buffer. */
export function encodeOnnx(graph: OnnxGraph): Uint8Array {
  const metadata = Object.entries(graph.metadata).map(([key, value]) =>
    message(14, text(1, key), text(2, value)),
  );
  return Buffer.concat([
    integer(1, IR_VERSION),
    text(2, "sealstream"),
    message(
      7,
      ...graph.nodes.map((node) => message(1, ...nodeParts(node))),
      text(2, "sealstream"),
      ...graph.tensors.map((tensor) => message(5, ...tensorParts(tensor))),
      message(11, ...valueParts(graph.input)),
      message(12, ...valueParts(graph.output)),
    ),
    message(8, text(1, ""), integer(2, OPSET)),
    ...metadata,
  ]);
}

function nodeParts({ operator, inputs, output, attributes }: OnnxNode): Buffer[] {
  return [
    ...inputs.map((input) => text(1, input)),
    text(2, output),
    text(3, output),
    text(4, operator),
    ...Object.entries(attributes).map(([name, value]) =>
      message(5, text(1, name), ...attributeParts(value)),
    ),
  ];
}

function attributeParts(value: OnnxAttribute): Buffer[] {
  if ("i" in value) return [integer(3, value.i), integer(20, 2)];
  if ("f" in value) {
    const number = Buffer.alloc(Float32Array.BYTES_PER_ELEMENT);
    number.writeFloatLE(value.f);
    return [tag(2, FIXED32), number, integer(20, 1)];
  }
  return [...value.map((one) => integer(8, one)), integer(20, 7)];
}

function tensorParts({ name, shape, values }: OnnxTensor): Buffer[] {
  const isFloat = values instanceof Float32Array;
  const width = isFloat ? Float32Array.BYTES_PER_ELEMENT : INT64_BYTES;
  const data = Buffer.alloc(values.length * width);
  for (const [index, value] of values.entries()) {
    if (isFloat) data.writeFloatLE(value, index * width);
    else data.writeBigInt64LE(BigInt(value), index * width);
  }
  return [
    ...shape.map((size) => integer(1, size)),
    integer(2, isFloat ? FLOAT_TYPE : INT64_TYPE),
    text(8, name),
    tag(9, BYTES),
    varint(data.length),
    data,
  ];
}

function valueParts({ name, width }: OnnxGraph["input"]): Buffer[] {
  const shape = message(2, message(1, text(2, "batch")), message(1, integer(1, width)));
  return [text(1, name), message(2, message(1, integer(1, FLOAT_TYPE), shape))];
}

function tag(field: number, wireType: number): Buffer {
  return varint(field * 8 + wireType);
}

function integer(field: number, value: number): Buffer {
  return Buffer.concat([tag(field, VARINT), varint(value)]);
}

function text(field: number, value: string): Buffer {
  const bytes = Buffer.from(value, "utf8");
  return Buffer.concat([tag(field, BYTES), varint(bytes.length), bytes]);
}

function message(field: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([tag(field, BYTES), varint(body.length), body]);
}

/** Seven bits a byte, the least first; negative numbers as the 64 bits of their two's complement. */
function varint(value: number): Buffer {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest === 0n ? low : low | 0x80);
  } while (rest !== 0n);
  return Buffer.from(bytes);
}
