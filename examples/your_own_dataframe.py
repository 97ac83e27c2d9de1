"""Compare methods on ratings of your own: two pandas tables in, both tests out.

Run it: python examples/your_own_dataframe.py
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import debiasrec


def your_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Stand-ins for your logs: ratings that customers chose to give, and ratings of randomly shown products."""
    source = debiasrec.load("simulated", n_users=200, n_items=100, density=0.15)
    tables = []
    for part in (source.biased, source.uniform):
        columns = {
            "customer": [f"c{user:03}" for user in part.users],
            "product": part.items + 1000,
            "stars": part.ratings,
        }
        tables.append(pd.DataFrame(columns))
    return tables[0], tables[1]


def main() -> None:
    logged, random_exposure = your_tables()
    columns = {"user": "customer", "item": "product", "rating": "stars"}
    data = debiasrec.from_frame(logged, random_exposure, **columns, threshold=4, drop_overlap=True)
    split = data.split("interd", seed=0)
    print(split.counts().to_string(index=False), end="\n\n")

    comparison = debiasrec.compare(split, ["mf", "ips", "snips", "dr"], seeds=2)
    print(comparison)

    model = debiasrec.methods.IPS(seed=0).fit(split)
    print(model.recommend(np.array(["c000", "c001"]), k=3).to_string(index=False))


if __name__ == "__main__":
    main()
