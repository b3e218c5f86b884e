/**
 * Wavelet scattering of an image: averages of moduli of wavelet coefficients, stable under shifts and small deformations.
 *
 * For order 2: S0 = x * phi; S1 = |x * psi1| * phi for each scale and angle; S2 = ||x * psi1| * psi2| * phi for each
 * second wavelet of a larger scale. Channels in that order, wavelets by scale, then angle; the same values as Kymatio 0.3's
 * Scattering2D (reflection padding included) within float32. Paths of four angles go through the kernels together.
 * An image [h][w] gives [channels][floor(h / 2^J)][floor(w / 2^J)] values. Pure; memory is taken once and kept.
 * Source: Mallat, Group Invariant Scattering (2012); Bruna & Mallat (2013).
 */
import type { FeatureMapSpec } from "../../spec/training-spec.ts";
import { writeFourierTable } from "./fourier-tables.ts";
import { createArena, type FeatureArena } from "./kernels.ts";
import type { FeatureMap } from "./map.ts";
import { coarserSpectrum, lowPassMatrix, morletSpectrum } from "./wavelets.ts";

export type ScatteringSpec = Extract<FeatureMapSpec, { scattering: unknown }>["scattering"];

const LANES = 4;
const VECTOR_BYTES = 16;
const POINT_BYTES = 32;
const FLOAT_BYTES = 4;

/** The grid at one resolution, 2^level times coarser than the padded image. */
interface Grid {
  readonly rows: number;
  readonly columns: number;
  /** Tables of the Fourier kernel. */
  readonly across: number;
  readonly down: number;
  /** Low-pass matrices. */
  readonly lowAcross: number;
  readonly lowDown: number;
  /** Points of a path. */
  readonly points: number;
}

/** Up to four angles of one scale. */
interface Group {
  readonly lanes: number;
  readonly scale: number;
  /** Filters by the level that they are applied at. */
  readonly filters: readonly number[];
}

interface Layout {
  readonly arena: FeatureArena;
  readonly spec: ScatteringSpec;
  readonly grids: readonly Grid[];
  readonly groups: readonly Group[];
  /** Addresses: the padded image's points, a second set of paths, two lines, a low-pass, its result, all channels. */
  readonly image: number;
  readonly scratch: number;
  readonly halfway: number;
  readonly averaged: number;
  readonly out: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** Kymatio's padded side: a multiple of 2^scales with at least one such block beside the image. */
function paddedSide(side: number, scales: number): number {
  const block = 2 ** scales;
  return (Math.floor((side + block) / block) + 1) * block;
}

/** Channels of a transform. */
export function scatteringChannels({ scales, angles, order }: ScatteringSpec): number {
  const second = order === 2 ? (angles * angles * scales * (scales - 1)) / 2 : 0;
  return 1 + angles * scales + second;
}

/** Makes the transform; filters are computed here, once. */
export function createScattering(spec: ScatteringSpec): FeatureMap {
  const layout = layOut(spec);
  const { arena, channels, height, width } = layout;
  const outputs = channels * height * width;
  const places = paddingPlaces(spec);
  const [rows, columns] = sidesOf(layout);
  return {
    outputs,
    apply(x) {
      const image = arena.floats(layout.image, (rows * columns * POINT_BYTES) / FLOAT_BYTES);
      image.fill(0);
      for (let place = 0; place < places.length; place += 1) {
        image[(place * POINT_BYTES) / FLOAT_BYTES] = x[places[place] ?? 0] ?? 0;
      }
      scatter(layout);
      return arena.floats(layout.out, outputs).slice();
    },
  };
}

function sidesOf({ grids: [full] }: Layout): readonly [number, number] {
  return [full?.rows ?? 0, full?.columns ?? 0];
}

/** Which place of the image each place of the padded one shows: mirrored, the edge itself not repeated. */
function paddingPlaces({ shape: [height, width], scales }: ScatteringSpec): Uint32Array {
  const mirror = (length: number): number[] => {
    const padded = paddedSide(length, scales);
    const before = Math.floor((padded - length) / 2);
    const period = Math.max(1, 2 * (length - 1));
    return Array.from({ length: padded }, (_, at) => {
      const place = (((at - before) % period) + period) % period;
      return place < length ? place : period - place;
    });
  };
  const across = mirror(width);
  return Uint32Array.from(
    mirror(height).flatMap((row) => across.map((column) => row * width + column)),
  );
}

function layOut(spec: ScatteringSpec): Layout {
  const { scales, angles, shape } = spec;
  const [rows, columns] = [paddedSide(shape[0], scales), paddedSide(shape[1], scales)];
  const arena = createArena();
  const pointsBytes = rows * columns * POINT_BYTES;
  const [height, width] = [rows / 2 ** scales - 2, columns / 2 ** scales - 2];
  const channels = scatteringChannels(spec);
  const grids = Array.from({ length: scales }, (_, level) =>
    layOutGrid(arena, { rows, columns, scales, level }),
  );
  const groups: Group[] = [];
  for (let scale = 0; scale < scales; scale += 1) {
    for (let first = 0; first < angles; first += LANES) {
      groups.push(layOutGroup(arena, spec, { rows, columns, scale, first }));
    }
  }
  return {
    ...{ arena, spec, grids, groups, channels, height, width },
    image: arena.take(pointsBytes),
    scratch: arena.take(2 * Math.max(rows, columns) * POINT_BYTES),
    halfway: arena.take(rows * width * VECTOR_BYTES),
    averaged: arena.take(height * width * VECTOR_BYTES),
    out: arena.take(channels * height * width * FLOAT_BYTES),
  };
}

function layOutGrid(
  arena: FeatureArena,
  {
    rows,
    columns,
    scales,
    level,
  }: { rows: number; columns: number; scales: number; level: number },
): Grid {
  const [height, width] = [rows / 2 ** level, columns / 2 ** level];
  const across = writeFourierTable(arena, width);
  const lowAcross = writeFloats(arena, lowPassMatrix(columns, scales, level));
  return {
    rows: height,
    columns: width,
    across,
    down: rows === columns ? across : writeFourierTable(arena, height),
    lowAcross,
    lowDown: rows === columns ? lowAcross : writeFloats(arena, lowPassMatrix(rows, scales, level)),
    points: arena.take(height * width * POINT_BYTES),
  };
}

function writeFloats(arena: FeatureArena, values: ArrayLike<number>): number {
  const address = arena.take(values.length * FLOAT_BYTES);
  arena.floats(address, values.length).set(values);
  return address;
}

/** Filters of a group at every level below its scale, the first at full resolution; an angle that is none is zero. */
function layOutGroup(
  arena: FeatureArena,
  { angles, order, scales }: ScatteringSpec,
  { rows, columns, scale, first }: { rows: number; columns: number; scale: number; first: number },
): Group {
  const lanes = Math.min(LANES, angles - first);
  const size = [rows, columns] as const;
  const spectra = Array.from({ length: lanes }, (_, lane) =>
    morletSpectrum(size, scale, first + lane, angles),
  );
  // At level 0 the image itself and first paths of scale 0 are filtered; at level j first paths of scale j.
  const levels = order === 2 && scales > 1 ? Math.max(1, scale) : 1;
  const filters = Array.from({ length: levels }, (_, level) => {
    const height = rows / 2 ** level;
    const width = columns / 2 ** level;
    const coarse = spectra.map((spectrum) => coarserSpectrum(spectrum, size, level));
    return writeFloats(arena, interleave(coarse, { height, width, fold: 2 ** (scale - level) }));
  });
  return { lanes, scale, filters };
}

/** [row][column][fold row][fold column] vectors, with the factors of the inverse transform and of subsampling. */
function interleave(
  spectra: readonly Float64Array[],
  { height, width, fold }: { height: number; width: number; fold: number },
): Float32Array {
  const [rows, columns] = [height / fold, width / fold];
  const out = new Float32Array(height * width * LANES);
  const factor = 1 / (height * width);
  let at = 0;
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      for (let a = 0; a < fold; a += 1) {
        for (let b = 0; b < fold; b += 1) {
          const from = (row + a * rows) * width + column + b * columns;
          for (const [lane, spectrum] of spectra.entries()) {
            out[at + lane] = (spectrum[from] ?? 0) * factor;
          }
          at += LANES;
        }
      }
    }
  }
  return out;
}

/** The whole transform of the image in memory. */
function scatter(layout: Layout): void {
  const { arena, image, scratch, groups, spec, height, width, grids } = layout;
  const [full] = grids;
  if (full === undefined) return;
  const channelBytes = height * width * FLOAT_BYTES;
  const { angles, scales, order } = spec;
  let first = layout.out;
  let second = layout.out + (1 + angles * scales) * channelBytes;
  average(layout, { points: image, level: 0, lanes: 1 }, first);
  first += channelBytes;
  const { transform2d } = arena.kernels;
  transform2d(image, full.rows, full.columns, full.across, full.down, scratch);
  for (const group of groups) {
    const grid = grids[group.scale] ?? full;
    follow(layout, { spectrum: image, level: 0, group }, grid.points);
    average(layout, { points: grid.points, level: group.scale, lanes: group.lanes }, first);
    first += group.lanes * channelBytes;
    if (order === 1 || group.scale === scales - 1) continue;
    transform2d(grid.points, grid.rows, grid.columns, grid.across, grid.down, scratch);
    for (let lane = 0; lane < group.lanes; lane += 1) {
      for (const next of groups) {
        if (next.scale <= group.scale) continue;
        const { points } = grids[next.scale] ?? full;
        const spectrum = grid.points + lane * FLOAT_BYTES;
        follow(layout, { spectrum, level: group.scale, group: next }, points);
        average(layout, { points, level: next.scale, lanes: next.lanes }, second);
        second += next.lanes * channelBytes;
      }
    }
  }
}

/** |spectrum * psi| of a group, from one level's spectrum to the group's own resolution. */
function follow(
  { arena, grids, scratch }: Layout,
  { spectrum, level, group }: { spectrum: number; level: number; group: Group },
  to: number,
): void {
  const { kernels } = arena;
  const [from, grid] = [grids[level], grids[group.scale]];
  if (from === undefined || grid === undefined) return;
  const filters = group.filters[level] ?? 0;
  kernels.filterFold(spectrum, from.rows, from.columns, 2 ** (group.scale - level), filters, to);
  kernels.transform2d(to, grid.rows, grid.columns, grid.across, grid.down, scratch);
  kernels.modulus(to, grid.rows * grid.columns);
}

/** Low-pass of real points at a level, written as channels. */
function average(
  layout: Layout,
  { points, level, lanes }: { points: number; level: number; lanes: number },
  to: number,
): void {
  const { arena, grids, halfway, averaged, height, width } = layout;
  const grid = grids[level];
  if (grid === undefined) return;
  const { rows, columns, lowDown, lowAcross } = grid;
  arena.kernels.lowPass(
    ...([points, rows, columns, lowDown, height, lowAcross, width, halfway, averaged] as const),
  );
  arena.kernels.spread(averaged, height * width, lanes, to);
}
