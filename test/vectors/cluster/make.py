"""Makes pycanon.json: groups of rows, and the k, l and t that pycanon finds in them.

Made with Python 3.11, pycanon 1.3.6 and pandas 2.3.3 from PyPI:
    python make.py > pycanon.json
pycanon counts rows; k is asked of it for one row of each subject in each group, since Sealstream counts subjects.
t of numbers has the ordered distance, t of texts the equal distance.
"""

import json
import random

import pandas as pd
from pycanon import anonymity

COLUMNS = ["age", "zip"]


def draw(rng, rows, subjects, values, groups):
    """Rows with skewed groups, whose sensitive values lean towards the group's."""
    out = []
    for _ in range(rows):
        group = min(int(rng.expovariate(2.5 / groups)), groups - 1)
        lean = (group * 3) % values
        value = lean if rng.random() < 0.3 else rng.randrange(values)
        # Not every value is a multiple of a step: ranks, not distances, count.
        out.append({"group": group, "subject": rng.randrange(subjects), "value": value * value})
    return out


def judge(rows):
    """What pycanon says of the rows."""
    data = pd.DataFrame(rows)
    data["age"] = data["group"] // 2
    data["zip"] = "z" + (data["group"] % 2).astype(str)
    data["text"] = "v" + data["value"].astype(str)
    once = data.drop_duplicates(["group", "subject"]).reset_index(drop=True)
    return {
        "k": int(anonymity.k_anonymity(once, COLUMNS)),
        "l": int(anonymity.l_diversity(data, COLUMNS, ["text"])),
        "tOrdered": float(anonymity.t_closeness(data, COLUMNS, ["value"])),
        "tEqual": float(anonymity.t_closeness(data, COLUMNS, ["text"])),
    }


def main():
    rng = random.Random(5)
    cases = []
    for rows, subjects, values, groups in [
        (20, 1000, 3, 2),
        (40, 12, 4, 3),
        (60, 60, 2, 4),
        (60, 20, 9, 1),
        (120, 1000, 5, 6),
        (120, 30, 5, 6),
        (200, 80, 12, 8),
        (200, 200, 7, 3),
        (300, 100, 20, 10),
        (300, 1000, 2, 12),
        (400, 300, 6, 5),
        (400, 50, 30, 4),
    ]:
        drawn = draw(rng, rows, subjects, values, groups)
        columns = {name: [row[name] for row in drawn] for name in ("group", "subject", "value")}
        cases.append({**columns, "expected": judge(drawn)})
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


main()
