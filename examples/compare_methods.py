"""Run a suite of one's own on the miniature zoo, look at its results with pandas, and compare two methods pair by pair.

It runs as it is, on a CPU, in a minute or two:

    python examples/compare_methods.py OUT

For models of your own, name a group file of yours in the place of "mini-1", and prompts of yours in the place of "mini".
"""

import sys

import afa_bench

suite = {
    "name": "example",
    "groups": ["mini-1"],
    "prompts": {"name": "mini", "limit": 4},
    "methods": ["base", "noise-average", "afa"],
    "metrics": [{"name": "clip-t", "features": "mini-clip"}],
    "sampler": {"guidance": 3.0},
    "steps": [10],
    "size": 32,
    "images_per_prompt": 1,
}
done = afa_bench.run(suite, out=sys.argv[1] if len(sys.argv) > 1 else "example", progress=True)

samples = done.results.samples()
print(samples.pivot_table(index="prompt", columns="label", values="clip_t_mini").round(3))
print(afa_bench.table(done.results, versus="afa"))
