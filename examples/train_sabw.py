"""Train an AFA aggregator (SABW) for three experts, save it, load it into a stock diffusers pipeline, draw, and look at its maps.

It runs as it is, on the miniature zoo and one CPU core, in about a minute:

    python examples/train_sabw.py OUT

For models of your own, put a group file of yours in the place of "mini-1" and images with captions in the place of "mini":
docs/training.md says how, and `afa-bench train` does the same from one YAML file.
"""

import sys
from pathlib import Path

import torch

from afa_bench import AFAPipeline
from afa_bench.afa.maps import attention_maps
from afa_bench.afa.method import AFAOptions
from afa_bench.afa.picture import draw_maps, save
from afa_bench.afa.trainable import SABWOptions, TrainAFA
from afa_bench.models.group import read_group
from afa_bench.models.load import load_group
from afa_bench.prompts.mini import MiniPrompts
from afa_bench.training.cache import Encoding, cache_pairs
from afa_bench.training.loop import fit
from afa_bench.training.settings import Settings

out = Path(sys.argv[1] if len(sys.argv) > 1 else "example")
prompt = "dog left of flag of Chile on blue"

# Three frozen experts, and a fresh aggregator of their features at every block.
group = read_group("mini-1", Path(), "example")
loaded = load_group(group, "cpu", torch.float32)
torch.manual_seed(0)
learner = TrainAFA().build(group, loaded.models, SABWOptions(hidden=16))

# Images and captions, encoded once by the frozen VAE and text encoders.
prompts = MiniPrompts().prompts(Path())[:256]
encoding = Encoding.of(loaded, learner.denoiser.text_encoders, size=32)
pairs = cache_pairs(prompts, encoding, out / "cache", advance=lambda count: None)

# 50 steps of AdamW on the denoising loss. Only the aggregator learns. Interrupted, the script goes on from its checkpoint.
settings = Settings(steps=50, batch=8, lr=1e-3, log_every=10)
sabw = fit(
    learner,
    group.family.objective(loaded.scheduler, learner.denoiser.unet, settings.guidance),
    pairs,
    settings,
    folder=out,
    report=lambda done, steps, log: print(f"step {done}: loss {log['loss']:.4f}") if done % 10 == 0 else None,
)
sabw.save_pretrained(out / "sabw")

# The aggregator and its experts as a stock diffusers pipeline.
pipe = AFAPipeline.from_experts([ref.path for ref in group.models], sabw=out / "sabw", base=group.pipeline)
noise = torch.Generator().manual_seed(0)
image = pipe(prompt, num_inference_steps=20, guidance_scale=3.0, generator=noise).images[0]
image.resize((256, 256), 0).save(out / "image.png")

# Which expert has how much weight where, in the first and the last but one block.
maps = attention_maps(
    loaded, prompt, size=32, blocks=[0, -2], steps=[1, 7, 14, 20], of=20, guidance=3.0, options=AFAOptions(sabw=out / "sabw")
)
save(draw_maps(maps), out / "maps.png")
print(f"{out}: sabw/, image.png, maps.png")
