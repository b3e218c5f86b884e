/**
 * The picture of `npm run study -- utility`: accuracy against epsilon, a panel for each data set.
 *
 * Made by Vega-Lite without a browser; an SVG of shapes and text.
 */
import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";

export interface ChartPoint {
  readonly dataset: string;
  readonly series: string;
  readonly epsilon: number;
  /** Percent. */
  readonly accuracy: number;
  readonly isPublished: boolean;
}

const COLUMNS = 3;
const EPSILONS = [1, 2, 3, 5, 8];

function specOf(points: readonly ChartPoint[]): TopLevelSpec {
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    background: "white",
    data: { values: [...points] },
    facet: { field: "dataset", type: "nominal", title: null },
    columns: COLUMNS,
    resolve: { scale: { y: "independent" } },
    spec: {
      width: 260,
      height: 220,
      encoding: {
        x: {
          ...{ field: "epsilon", type: "quantitative", title: "epsilon at delta 1e-5" },
          ...{ scale: { type: "log" }, axis: { values: EPSILONS } },
        },
        y: {
          ...{ field: "accuracy", type: "quantitative", title: "test accuracy, %" },
          scale: { zero: false },
        },
        color: { field: "series", type: "nominal", title: null, legend: { labelLimit: 400 } },
      },
      layer: [
        { transform: [{ filter: "!datum.isPublished" }], mark: { type: "line", point: true } },
        {
          transform: [{ filter: "datum.isPublished" }],
          mark: { type: "point", shape: "diamond", size: 70 },
        },
      ],
    },
  };
}

/** The picture as SVG. */
export async function drawChart(points: readonly ChartPoint[]): Promise<string> {
  const view = new View(parse(compile(specOf(points)).spec), { renderer: "none" });
  const svg = await view.toSVG();
  view.finalize();
  return svg;
}
