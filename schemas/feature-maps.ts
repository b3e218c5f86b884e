/**
 * The entries of `features.maps` in a pipeline file: what each may say, and the words an editor shows beside it.
 *
 * A map is one object whose kind is the key that stands in it, as layers are. What the maps must mean together is checked
 * in `pipeline/spec/feature-maps.ts`. Must not import any room.
 */
import { z } from "zod";

/** Keys of which a map has exactly one. */
export const MAP_KINDS = [
  "scattering",
  "groupNorm",
  "normalize",
  "standardize",
  "randomProjection",
  "fourier",
  "randomConvolution",
] as const;

/** Numbers that one map may hand to the next: more than the network may read, since a projection may follow. */
export const MOST_MAP_VALUES = 65_536;
/** Sides of an image: as many places as a record may have inputs. */
const side = z.int().min(1).max(4096);
const outputs = z.int().min(1).max(MOST_MAP_VALUES);
const seed = z
  .int()
  .min(0)
  .max(2 ** 32 - 1)
  .default(0)
  .describe("Of the map's public random numbers.");
const constant = z.number().min(-1e6).max(1e6);
const deviation = z.number().min(1e-6).max(1e6);

/** One entry of `features.maps`. */
export const featureMap = z
  .strictObject({
    scattering: z
      .strictObject({
        shape: z.tuple([side, side]).describe("[height, width] of the image."),
        scales: z.int().min(1).max(6).default(2).describe("Octaves J: outputs lie 2^J apart."),
        angles: z.int().min(1).max(16).default(8).describe("Orientations L."),
        order: z
          .union([z.literal(1), z.literal(2)])
          .default(2)
          .describe("Wavelets that follow each other, 1 or 2."),
      })
      .optional()
      .describe("Wavelet scattering, as Kymatio's: [channels][height / 2^J][width / 2^J]."),
    groupNorm: z
      .strictObject({
        groups: z.int().min(1).max(4096).describe("Runs of equal length; a divisor of the values."),
      })
      .optional()
      .describe("Each run of values by its own mean and deviation, record by record."),
    normalize: z.enum(["l2"]).optional().describe("Divides a record's values by their L2 norm."),
    standardize: z
      .strictObject({
        mean: z.union([constant, z.array(constant).min(1).max(MOST_MAP_VALUES)]),
        deviation: z.union([deviation, z.array(deviation).min(1).max(MOST_MAP_VALUES)]),
      })
      .optional()
      .describe("(x - mean) / deviation by public constants: one for all values, or one each."),
    randomProjection: z
      .strictObject({ outputs, seed })
      .optional()
      .describe("A public Gaussian matrix, scaled by 1 / sqrt(outputs)."),
    fourier: z
      .strictObject({
        outputs,
        bandwidth: z
          .number()
          .min(1e-3)
          .max(1e6)
          .describe("Of the Gaussian kernel: distance at which it has fallen to 0.61."),
        seed,
      })
      .optional()
      .describe("Random Fourier features of a Gaussian kernel."),
    randomConvolution: z
      .strictObject({
        shape: z
          .union([z.tuple([side, side]), z.tuple([side, side, side])])
          .describe("[height, width] or [height, width, channels] of the values."),
        filters: z.int().min(1).max(1024),
        kernelSize: z.tuple([side, side]).describe("[height, width] of a filter."),
        poolSize: z.tuple([side, side]).describe("[height, width] of the windows of means."),
        seed,
      })
      .optional()
      .describe("Public random filters, rectified and averaged: [rows][columns][filters]."),
  })
  .meta({ oneOf: MAP_KINDS.map((kind) => ({ required: [kind] })) });

export type FeatureMapEntry = z.output<typeof featureMap>;
