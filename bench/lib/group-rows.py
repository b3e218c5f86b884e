"""Groups rows with anonypy's Mondrian and says how long it took: the peer of bench/cluster.ts.

Reads JSON {"k", "rounds", "columns": {name: [code, ...]}} from standard input; writes {"seconds": [of each round],
"groups": [[row, ...], ...]}. What is timed is the partitioning alone, without the table that anonypy makes of it, and in
processor time, so that a busy machine does not count against it.
"""

import json
import sys
import time

import pandas as pd
from anonypy.mondrian import Mondrian

asked = json.load(sys.stdin)
names = list(asked["columns"])
data = pd.DataFrame(asked["columns"])
data["sensitive"] = 0
seconds = []
groups = []
for _ in range(asked["rounds"]):
    start = time.process_time()
    groups = Mondrian(data, names, "sensitive").partition(asked["k"])
    seconds.append(time.process_time() - start)
json.dump({"seconds": seconds, "groups": [group.tolist() for group in groups]}, sys.stdout)
