/**
 * Domains: codes of values, what ranges of them are called, and where they are halved.
 *
 * What a rendered range means is read back from its text here, by rules of its own.
 */
import { describe, expect, it } from "vitest";
import { createRandom, type Random } from "../../../../bench/lib/adult.ts";
import type { ClusterDomain } from "../../../../pipeline/spec/pipeline-spec.ts";
import {
  createDomain,
  type Domain,
} from "../../../../pipeline/stages/desensitize/cluster/domain.ts";

const PLACES: Extract<ClusterDomain, { kind: "hierarchy" }> = {
  kind: "hierarchy",
  paths: [
    ["Berlin", "Germany", "Europe"],
    ["Lyon", "France", "Europe"],
    ["Wuhan", "China", "Asia"],
    ["Hamburg", "Germany", "Europe"],
    ["Harbin", "China", "Asia"],
    ["Ulm", "Germany", "Europe"],
    ["Kyoto", "Japan", "Asia"],
  ],
};
const KINDS: Readonly<Record<string, ClusterDomain>> = {
  ages: { kind: "number", range: [0, 120] },
  balances: { kind: "number", range: [-1000, 1000] },
  births: { kind: "date", range: ["1920-01-01", "2020-12-31"] },
  postcodes: { kind: "digits", length: 5 },
  names: { kind: "text" },
  places: PLACES,
};

function rangesOf(domain: Domain, random: Random): [number, number] {
  const [a, b] = [random(), random() ** 6].map((r) => Math.floor(r * domain.size)) as [
    number,
    number,
  ];
  const low = random() < 0.5 ? a : Math.floor(a / 4096) * 4096;
  return [low, Math.min(domain.size - 1, low + b)];
}

/** Whether a value is one of those that a rendered range means. */
function means(kind: ClusterDomain["kind"], rendered: string, value: string): boolean {
  switch (kind) {
    case "number": {
      const [, low, high] = /^(-?\d+)(?:(?:-| to )(-?\d+))?$/.exec(rendered)!;
      return Number(value) >= Number(low) && Number(value) < Number(high ?? low) + 1;
    }
    case "date": {
      const [low, high] = rendered.split("/") as [string, string | undefined];
      return high === undefined ? value.startsWith(low) : value >= low && value <= high;
    }
    case "digits": {
      const [low, high] = rendered.split("-") as [string, string | undefined];
      return value >= low && value <= (high ?? low);
    }
    case "text": {
      const all = "$ !\"#%&'()+,-./:0123456789;<=>?@abcdefghijklmnopqrstuvwxyz_{|}`~";
      const [, prefix, from, to, more] = /^(.*?)(?:\[(.)-(.)\])?(\*?)$/.exec(rendered)!;
      if (more === "") return value === prefix;
      if (!value.startsWith(prefix!)) return false;
      const next = all.indexOf(value[prefix!.length] ?? "$");
      return from === undefined || (next >= all.indexOf(from) && next <= all.indexOf(to!));
    }
    case "hierarchy":
      return (
        rendered === "*" ||
        PLACES.paths.some((path) => path[0] === value && path.includes(rendered))
      );
  }
}

/** A value with a code: by rendering it alone, which must mean it. */
const textOf = (domain: Domain, code: number) => domain.render(code, code).replace(/\*$/, "");

describe.each(Object.entries(KINDS))("%s", (_, kind) => {
  const domain = createDomain(kind);

  it("gives each value a code and each code a value", () => {
    const random = createRandom(1);
    for (let i = 0; i < 500; i++) {
      const code = Math.floor(random() * domain.size);
      const value = textOf(domain, code);
      // Texts with an end inside have no value; their codes are never given.
      if (kind.kind !== "text") expect(domain.encode(value)).toBe(code);
    }
  });

  it("renders a range as what holds its values, and what a range inside it is rendered as", () => {
    const random = createRandom(2);
    for (let i = 0; i < 2000; i++) {
      const [low, high] = rangesOf(domain, random);
      const inner = [random(), random()]
        .map((r) => low + Math.floor(r * (high - low + 1)))
        .sort((a, b) => a - b) as [number, number];
      const [outside, inside] = [domain.render(low, high), domain.render(...inner)];
      for (const code of [low, high, ...inner, Math.floor((inner[0] + inner[1]) / 2)]) {
        const value = textOf(domain, code);
        expect(means(kind.kind, outside, value), `${value} in ${outside}`).toBe(true);
      }
      for (const code of inner) {
        const value = textOf(domain, code);
        expect(means(kind.kind, inside, value), `${value} in ${inside}`).toBe(true);
      }
      // Whatever the inner range says, the outer says too.
      const near = [-2, -1, 1, 2].flatMap((by) => [inner[0] + by, inner[1] + by]);
      for (const code of near.filter((one) => one >= 0 && one < domain.size)) {
        const value = textOf(domain, code);
        const said = means(kind.kind, inside, value);
        expect(said && !means(kind.kind, outside, value), value).toBe(false);
      }
    }
  });

  it("covers as many codes as it renders", () => {
    const random = createRandom(3);
    expect(domain.covered(0, domain.size - 1)).toBe(domain.size);
    for (let i = 0; i < 500; i++) {
      const [low, high] = rangesOf(domain, random);
      expect(domain.covered(low, low)).toBe(1);
      expect(domain.covered(low, high)).toBeGreaterThanOrEqual(high - low + 1);
    }
  });

  it("is halved down to single codes, in few steps", () => {
    const random = createRandom(4);
    for (let i = 0; i < 300; i++) {
      const code = Math.floor(random() * domain.size);
      let [low, high, steps] = [0, domain.size - 1, 0];
      while (low < high) {
        const middle = domain.middle(low, high);
        expect(Number.isInteger(middle) && low <= middle && middle < high).toBe(true);
        if (code <= middle) high = middle;
        else low = middle + 1;
        steps++;
      }
      expect(low).toBe(code);
      expect(steps).toBeLessThanOrEqual(2 * Math.ceil(Math.log2(domain.size)));
    }
  });
});

describe("values", () => {
  const encode = (kind: ClusterDomain, text: string) => createDomain(kind).encode(text);

  it("are numbers of the range, rounded down", () => {
    const ages = KINDS["ages"]!;
    expect(["0", "17.9", "120", "1.2e1", "120.99", "-0"].map((text) => encode(ages, text))).toEqual(
      [0, 17, 120, 12, 120, 0],
    );
    for (const text of [
      "-1",
      "-0.1",
      "121",
      "",
      " 5",
      "0x10",
      "1_0",
      "NaN",
      "Infinity",
      "1e999",
      "05",
    ]) {
      expect(encode(ages, text), text).toBeNull();
    }
  });

  it("are days of the calendar, with or without a time", () => {
    const births = KINDS["births"]!;
    expect(encode(births, "1920-01-02")).toBe(1);
    expect(encode(births, "1920-01-02T23:59:59.5+02:00")).toBe(1);
    for (const text of [
      "1984-02-30",
      "1983-02-29",
      "1984-2-3",
      "1919-12-31",
      "2021-01-01",
      "1984-03-01x",
      "1984-13-01",
      "84-01-01",
    ]) {
      expect(encode(births, text), text).toBeNull();
    }
  });

  it("are digits of exactly one length", () => {
    const postcodes = KINDS["postcodes"]!;
    expect(encode(postcodes, "01067")).toBe(1067);
    for (const text of ["1067", "010670", "0106a", "٠١٠٦٧", " 1067", "+1067", "1e067"]) {
      expect(encode(postcodes, text), text).toBeNull();
    }
  });

  it("are texts by their first characters, without case and accents", () => {
    const names: ClusterDomain = { kind: "text" };
    expect(encode(names, "MÜLLER")).toBe(encode(names, "muller"));
    expect(encode(names, "Abcdefghi")).toBe(encode(names, "abcdefghXYZ"));
    expect(encode(names, "東京")).toBe(encode(names, "大阪"));
    expect(encode(names, "")).toBe(0);
    expect(encode(names, "$")).not.toBe(0);
    expect(encode(names, "1")!).toBeLessThan(encode(names, "a")!);
  });

  it("are values of the hierarchy, as they are written", () => {
    expect(encode(PLACES, "Hamburg")).toBe(1);
    for (const text of ["hamburg", "Germany", "*", ""]) expect(encode(PLACES, text)).toBeNull();
  });
});

describe("ranges", () => {
  const rendered = (kind: ClusterDomain, from: string, to: string) => {
    const domain = createDomain(kind);
    return domain.render(domain.encode(from)!, domain.encode(to)!);
  };

  it.each([
    ["ages", "18", "64", "18-64"],
    ["ages", "7", "7", "7"],
    ["balances", "-10", "-1", "-10 to -1"],
    ["balances", "-10", "5", "-10 to 5"],
    ["balances", "-10", "-10", "-10"],
    ["births", "1984-03-01", "1984-06-30", "1984-03-01/1984-06-30"],
    ["births", "1984-02-01", "1984-02-29", "1984-02"],
    ["births", "1984-01-01", "1984-12-31", "1984"],
    ["births", "1984-01-01", "1985-12-31", "1984-01-01/1985-12-31"],
    ["births", "1984-03-01", "1984-03-01", "1984-03-01"],
    ["postcodes", "10000", "12499", "10000-12499"],
    ["postcodes", "01067", "01067", "01067"],
    ["names", "100", "10zz", "10[0-z]*"],
    ["names", "10", "104", "10[$-4]*"],
    ["names", "berlin", "berlin", "berlin"],
    ["names", "abcdefghi", "abcdefghj", "abcdefgh*"],
    ["places", "Berlin", "Ulm", "Germany"],
    ["places", "Berlin", "Hamburg", "Germany"],
    ["places", "Berlin", "Lyon", "Europe"],
    ["places", "Lyon", "Lyon", "Lyon"],
    ["places", "Lyon", "Wuhan", "*"],
  ])("of %s from %s to %s are %s", (name, from, to, expected) => {
    expect(rendered(KINDS[name]!, from, to)).toBe(expected);
  });

  it("are a prefix or all where a whole character is open", () => {
    const names = createDomain({ kind: "text" });
    expect(names.render(0, names.size - 1)).toBe("*");
    const low = names.encode("10")!;
    expect(names.render(low, low + 2 ** 36 - 1)).toBe("10*");
  });

  it("are halved where people would", () => {
    const halves = (kind: ClusterDomain, from: string, to: string) => {
      const domain = createDomain(kind);
      const [low, high] = [domain.encode(from)!, domain.encode(to)!];
      const middle = domain.middle(low, high);
      return [domain.render(low, middle), domain.render(middle + 1, high)];
    };
    expect(halves(KINDS["births"]!, "1980-01-01", "1983-12-31")).toEqual([
      "1980-01-01/1981-12-31",
      "1982-01-01/1983-12-31",
    ]);
    expect(halves(KINDS["births"]!, "1984-01-01", "1984-02-29")).toEqual(["1984-01", "1984-02"]);
    expect(halves(KINDS["postcodes"]!, "10000", "19999")).toEqual(["10000-14999", "15000-19999"]);
    expect(halves(KINDS["places"]!, "Berlin", "Kyoto")).toEqual(["Europe", "Asia"]);
  });

  it("have means where they have a middle", () => {
    expect(createDomain(KINDS["balances"]!).mean?.(1000.126)).toBe("0.13");
    expect(createDomain(KINDS["births"]!).mean?.(0.6)).toBe("1920-01-02");
    for (const name of ["postcodes", "names", "places"])
      expect(createDomain(KINDS[name]!).mean).toBeNull();
  });
});

describe("a domain is refused", () => {
  it.each<[string, ClusterDomain]>([
    ["without numbers", { kind: "number", range: [5, 4] }],
    ["of fractions", { kind: "number", range: [0.5, 4] }],
    ["of too many numbers", { kind: "number", range: [0, 2 ** 48] }],
    ["without days", { kind: "date", range: ["2020-01-02", "2020-01-01"] }],
    ["of no days", { kind: "date", range: ["2020-02-30", "2020-03-01"] }],
    ["of too many digits", { kind: "digits", length: 15 }],
    ["of no digits", { kind: "digits", length: 0.5 }],
    ["without paths", { kind: "hierarchy", paths: [] }],
    [
      "with a value twice",
      {
        kind: "hierarchy",
        paths: [
          ["a", "x"],
          ["a", "x"],
        ],
      },
    ],
    [
      "with a value in two groups",
      {
        kind: "hierarchy",
        paths: [
          ["a", "x"],
          ["a", "y"],
        ],
      },
    ],
    [
      "with one name for two groups",
      {
        kind: "hierarchy",
        paths: [
          ["a", "x", "p"],
          ["b", "x", "q"],
        ],
      },
    ],
    [
      "with a group called all",
      {
        kind: "hierarchy",
        paths: [
          ["a", "*"],
          ["b", "q"],
        ],
      },
    ],
  ])("%s", (_, kind) => {
    expect(() => createDomain(kind)).toThrow(/cluster: /);
  });
});
