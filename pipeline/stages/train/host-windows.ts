/**
 * Windows of images over flat arrays: cutting them out for a convolution, putting slopes back, and averaging them.
 *
 * A copy of a few megabytes costs less than the calls that gather it on a device whose memory is the host's own. Values
 * are [rows][height][width][channels], row-major. Must not sum over examples.
 */
import { type Conv2dLayer, type PoolLayer, windowsOf } from "../../network/layers.ts";

type Windowed = Conv2dLayer | PoolLayer;

/** A run of values that lie side by side both in the image and in the window. */
interface Run {
  /** Places within one example's values and within its windows. */
  readonly image: number;
  readonly window: number;
  readonly length: number;
}

/** Every run of one example; the part of a window that lies outside the image has none. */
export function windowRuns(layer: Windowed): Run[] {
  const [height, width, channels] = layer.input;
  const [high, wide] = layer.kind === "conv2d" ? layer.kernelSize : layer.poolSize;
  const [down, across] = layer.strides;
  const { rows, columns, top, left } = windowsOf(layer);
  const runs: Run[] = [];
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const from = column * across - left;
      const first = Math.max(0, -from);
      const length = (Math.min(wide, width - from) - first) * channels;
      for (let y = 0; y < high; y += 1) {
        const line = row * down - top + y;
        if (line < 0 || line >= height || length <= 0) continue;
        const window = (((row * columns + column) * high + y) * wide + first) * channels;
        runs.push({ image: (line * width + from + first) * channels, window, length });
      }
    }
  }
  return runs;
}

/** Runs as numbers in one array, three by three: a loop over objects takes twice as long. */
export function flatRuns(layer: Windowed): Int32Array {
  return Int32Array.from(
    windowRuns(layer).flatMap(({ image, window, length }) => [image, window, length]),
  );
}

/** [rows][positions][window] out of [rows][image]; zeros outside the image. */
export function cutWindows(
  runs: Int32Array,
  values: Float32Array,
  rows: number,
  windowNumbers: number,
): Float32Array {
  const imageNumbers = values.length / rows;
  const windows = new Float32Array(rows * windowNumbers);
  for (let row = 0; row < rows; row += 1) {
    const image = row * imageNumbers;
    const window = row * windowNumbers;
    for (let run = 0; run < runs.length; run += 3) {
      const from = image + (runs[run] ?? 0);
      const to = window + (runs[run + 1] ?? 0);
      const length = runs[run + 2] ?? 0;
      for (let index = 0; index < length; index += 1) {
        windows[to + index] = values[from + index] ?? 0;
      }
    }
  }
  return windows;
}

/** The way back: [rows][image], each number the sum of those that were cut out of it. */
export function addWindows(
  runs: Int32Array,
  windows: Float32Array,
  rows: number,
  imageNumbers: number,
): Float32Array {
  const windowNumbers = windows.length / rows;
  const values = new Float32Array(rows * imageNumbers);
  for (let row = 0; row < rows; row += 1) {
    const image = row * imageNumbers;
    const window = row * windowNumbers;
    for (let run = 0; run < runs.length; run += 3) {
      const to = image + (runs[run] ?? 0);
      const from = window + (runs[run + 1] ?? 0);
      const length = runs[run + 2] ?? 0;
      for (let index = 0; index < length; index += 1) {
        values[to + index] = (values[to + index] ?? 0) + (windows[from + index] ?? 0);
      }
    }
  }
  return values;
}

/** Means of windows, [rows][positions][channels], of values cut as [rows][positions][size][channels]. */
export function averageWindows(
  windows: Float32Array,
  size: number,
  channels: number,
): Float32Array {
  const means = new Float32Array(windows.length / size);
  for (let position = 0; position < means.length / channels; position += 1) {
    for (let channel = 0; channel < channels; channel += 1) {
      let sum = 0;
      for (let place = 0; place < size; place += 1) {
        sum += windows[(position * size + place) * channels + channel] ?? 0;
      }
      means[position * channels + channel] = sum / size;
    }
  }
  return means;
}

/** Slopes by the values of each window, out of slopes by its mean. */
export function spreadMeans(deltas: Float32Array, size: number, channels: number): Float32Array {
  const windows = new Float32Array(deltas.length * size);
  for (let position = 0; position < deltas.length / channels; position += 1) {
    for (let place = 0; place < size; place += 1) {
      for (let channel = 0; channel < channels; channel += 1) {
        windows[(position * size + place) * channels + channel] =
          (deltas[position * channels + channel] ?? 0) / size;
      }
    }
  }
  return windows;
}
