"""The stages of the recipe. Each reads what earlier ones wrote, trains one part and writes it in its place, in half precision."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTextModel

from afa_bench import registry
from afa_bench.afa.experts import experts_of, write_hashes
from afa_bench.afa.sabw import SABW
from afa_bench.architectures.objective import Diffusion
from afa_bench.ensembles.unets import EnsembleUNet
from afa_bench.method import Model
from afa_bench.mini.recipe import clip as clips
from afa_bench.mini.recipe import unet as unets
from afa_bench.mini.recipe import vae as vaes
from afa_bench.mini.recipe.dataset import Dataset, draw, heldout_pairs, training_pairs, write_heldout, write_reference
from afa_bench.mini.recipe.loop import Losses, Report, fit, rank_and_world
from afa_bench.mini.recipe.muon import Muon
from afa_bench.mini.recipe.pairs import Painter
from afa_bench.mini.recipe.settings import GROUPS, PartTraining, ZooRecipe
from afa_bench.mini.recipe.text import save_tokenizer, tokens, train_tokenizer
from afa_bench.mini.recipe.zoo import Zoo
from afa_bench.training.loss import Draw, denoising_loss


class Workspace(Zoo):
    """The folder in which a zoo is built, and its recipe. What is not shipped lies in ``.work``."""

    def __init__(self, root: Path, recipe: ZooRecipe) -> None:
        super().__init__(root)
        self.recipe = recipe

    @property
    def work(self) -> Path:
        """Checkpoints, data and logs."""
        return self.root / ".work"

    def log_file(self, stage: str) -> Path:
        """What a stage writes last: its facts. It is done when this file exists."""
        return self.work / f"{stage}.json"

    def checkpoint(self, stage: str) -> Path:
        """Where a stage keeps its state while it runs."""
        return self.work / f"{stage}.ckpt"

    @cached_property
    def train(self) -> Dataset:
        """The training pairs."""
        return Dataset.load(self.work / "train")

    @cached_property
    def train_latents(self) -> Tensor:
        """Latents of the training images."""
        latents: Tensor = torch.load(self.work / "latents.pt", weights_only=True)
        return latents

    @cached_property
    def train_states(self) -> Tensor:
        """Text states of the training captions; the last row is the empty prompt's."""
        return self.states([*self.train.captions, ""])


Facts = dict[str, Any]
Stage = Callable[[Workspace, Report], Facts]


def save_half(module: Any, folder: Path) -> None:
    """Write a model's weights in half precision, whole or not at all."""
    temporary = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.part")
    module.half().save_pretrained(temporary, safe_serialization=True)
    config = json.loads((temporary / "config.json").read_text())
    config.pop("_name_or_path", None)  # where it was trained is nobody's business, and would differ for equal zoos
    if "dtype" in config:
        config["dtype"] = "float32"  # half on the disk alone: transformers loads in what this says, and a CPU wants single
    (temporary / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    folder.mkdir(parents=True, exist_ok=True)
    for file in temporary.iterdir():
        file.replace(folder / file.name)
    temporary.rmdir()


def count(*modules: nn.Module) -> int:
    """Parameters."""
    return sum(p.numel() for module in modules for p in module.parameters())


def _facts(log: Losses, *modules: nn.Module, **more: Any) -> Facts:
    return {"parameters": count(*modules), "seconds": round(log.seconds, 1), "losses": log.losses, **more}


def data(ws: Workspace, report: Report) -> Facts:
    """Draw the pairs, train the tokenizer."""
    recipe, rng, painter = ws.recipe, np.random.default_rng(ws.recipe.seed), Painter()
    chosen = training_pairs(recipe.mixed_scenes, recipe.pure_scenes, rng, recipe.every)
    held = heldout_pairs(recipe.heldout, rng)
    train = draw(chosen, painter, recipe.scene_share)
    train.save(ws.work / "train")
    write_heldout(held, painter, ws.root / "heldout.parquet")
    write_reference(train, recipe.reference, rng, ws.root / "reference.parquet")
    save_tokenizer(train_tokenizer(train.captions), ws.root / "base" / "tokenizer")
    return {"train": len(chosen), "heldout": len(held), "reference": recipe.reference}


def vae(ws: Workspace, report: Report) -> Facts:
    """The autoencoder."""
    recipe = ws.recipe
    torch.manual_seed(recipe.vae.seed)
    model = vaes.new_vae(recipe.latent_channels, recipe.vae_widths)
    images, weight = torch.from_numpy(ws.train.images), torch.from_numpy(ws.train.weight)
    log = vaes.train_vae(model, images, weight, recipe.vae, ws.checkpoint("vae"), report)
    save_half(model, ws.root / "base" / "vae")
    torch.save(vaes.encode(ws.vae, images), ws.work / "latents.pt")
    psnr = vaes.psnr(ws.vae, torch.from_numpy(ws.heldout.images))
    return _facts(log, model, psnr_heldout=psnr, scaling_factor=model.config.scaling_factor)


def clip(ws: Workspace, report: Report) -> Facts:
    """The CLIP whose text tower the base starts from; it sees the training pairs only."""
    model, log = _train_clip(ws, "clip", [ws.train], report)
    clips.text_encoder(model, ws.tokenizer).save_pretrained(ws.work / "text")
    return _facts(log, model, retrieval_of_512=_retrieval(ws, model))


def evaluator(ws: Workspace, report: Report) -> Facts:
    """The CLIP that measures: another seed, all pairs."""
    model, log = _train_clip(ws, "evaluator", [ws.train, ws.heldout], report)
    model.config.update({"image_size": 32, "image_mean": clips.MEAN, "image_std": clips.STD})
    save_half(model, ws.root / "evaluator")
    save_tokenizer(ws.tokenizer, ws.root / "evaluator")
    return _facts(log, model, retrieval_of_512=_retrieval(ws, model.float()))


def _train_clip(ws: Workspace, stage: str, sets: list[Dataset], report: Report) -> tuple[CLIPModel, Losses]:
    part = ws.recipe.clip if stage == "clip" else ws.recipe.evaluator
    torch.manual_seed(part.seed)
    model = clips.new_clip(ws.tokenizer, ws.recipe.text_width, ws.recipe.text_layers)
    ids = tokens(ws.tokenizer, [caption for one in sets for caption in one.captions])
    images = torch.from_numpy(np.concatenate([one.images for one in sets]))
    sizes = [1.0, 0.2]  # the held-out pairs' share beside the training pairs'
    weight = torch.from_numpy(np.concatenate([size * one.weight for size, one in zip(sizes, sets, strict=False)]))
    return model, clips.train_clip(model, ids, images, weight, part, ws.checkpoint(stage), report)


def _retrieval(ws: Workspace, model: CLIPModel) -> float:
    held = ws.heldout
    return clips.retrieval(model, ws.tokenizer, held.captions[:512], torch.from_numpy(held.images[:512]))


def base(ws: Workspace, report: Report) -> Facts:
    """The common base: U-Net and text encoder together, on the full mix, by all processes that were started together."""
    recipe = ws.recipe
    torch.manual_seed(recipe.base.seed)
    unet = unets.new_unet(recipe.latent_channels, recipe.unet_widths, recipe.text_width)
    encoder = CLIPTextModel.from_pretrained(ws.work / "text")
    ids = tokens(ws.tokenizer, [*ws.train.captions, ""])
    log = unets.train_unet(
        unet,
        ws.train_latents,
        lambda rows: encoder(ids[rows]).last_hidden_state,
        torch.from_numpy(ws.train.weight),
        recipe.base,
        ws.checkpoint("base"),
        encoder,
        report,
    )
    facts = _facts(log, unet, encoder, processes=rank_and_world()[1])
    if rank_and_world()[0] == 0:
        save_half(encoder, ws.root / "base" / "text_encoder")
        save_half(unet, ws.root / "base" / "unet")
        write_pipeline(ws)
    return facts


def write_pipeline(ws: Workspace) -> None:
    """``model_index.json`` and the scheduler: the base folder becomes a stock pipeline."""
    folder = ws.root / "base"
    unets.scheduler().save_pretrained(folder / "scheduler")
    index = {
        "_class_name": StableDiffusionPipeline.__name__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def expert(ws: Workspace, report: Report, own: str | None, folder: str, number: int) -> Facts:
    """The base trained on: mostly on what is its ``own`` (a domain or a palette), or on the full mix (None: the generalist)."""
    recipe = ws.recipe
    unet = ws.unet("base").train()
    states = ws.train_states
    weight = torch.from_numpy(ws.train.mix(own, recipe.own_share))
    part = replace(recipe.expert, seed=recipe.expert.seed * 100 + number)
    checkpoint = ws.checkpoint(folder.replace("/", "-"))
    log = unets.train_unet(unet, ws.train_latents, lambda rows: states[rows], weight, part, checkpoint, report=report)
    facts = _facts(log, unet)
    save_half(unet, ws.root / folder / "unet")
    return facts


def sabw(ws: Workspace, report: Report, group: str) -> Facts:
    """A group's aggregator, on the full mix, with the loss of the paper (equation 12)."""
    models = ws.experts(group)
    torch.manual_seed(ws.recipe.sabw.seed)
    model = SABW.for_model(models[0], len(models), hidden=ws.recipe.sabw_hidden, experts=GROUPS[group])
    ensemble = EnsembleUNet(models, model)
    return _learned(ws, report, ensemble, model, ws.recipe.sabw, "conv_out", group, "sabw")


def router(ws: Workspace, report: Report, group: str, method: str) -> Facts:
    """A group's routers, for a mixture of experts: in the same way and as many steps."""
    kind = registry.load("trainables", method)
    models = [Model(name, unet, ws.text_encoder) for name, unet in zip(GROUPS[group], ws.experts(group), strict=True)]
    torch.manual_seed(ws.recipe.router.seed)
    learner = kind().build(ws.group(group), models, kind.Options(hidden=ws.recipe.sabw_hidden))
    unet, model = learner.denoiser.unet, learner.learned
    model.register_to_config(experts=list(GROUPS[group]))
    return _learned(ws, report, unet, model, ws.recipe.router, "head", group, method, learner.auxiliary)


def _learned(
    ws: Workspace,
    report: Report,
    unet: Any,
    model: Any,
    part: PartTraining,
    plain: str,
    group: str,
    name: str,
    auxiliary: Callable[[], Tensor] = lambda: torch.zeros(()),
) -> Facts:
    """Train what a group's frozen models are joined by, on the full mix; what it draws itself continues the step's randomness.

    Its configuration names the models, and a file beside it has their sha256.
    """
    unet.eval().requires_grad_(False)
    model.train().requires_grad_(True)
    count = len(unet.models)
    states, latents, weight = ws.train_states, ws.train_latents, torch.from_numpy(ws.train.weight)
    empty, objective = {"prompt_embeds": states[-1:].repeat(1, 1, count)}, Diffusion(unets.scheduler())

    def loss(rng: torch.Generator) -> Tensor:
        picks = torch.multinomial(weight, part.batch, replacement=True, generator=rng)
        clean, told = latents[picks], {"prompt_embeds": states[picks].repeat(1, 1, count)}
        drawn = Draw.of(clean.shape, objective.timesteps, unets.TEXT_DROPOUT, rng)
        with torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(rng.get_state())
            return denoising_loss(unet, objective, clean, told, empty, drawn) + auxiliary()

    optimizer = Muon([model], lr=part.lr, adam_lr=part.adam_lr, plain=(plain,))
    checkpoint = ws.checkpoint(f"{group}-{name}")
    log = fit(
        [model], optimizer, loss, steps=part.steps, seed=part.seed, checkpoint=checkpoint, warmup=30, ema=part.ema, report=report
    )
    facts = _facts(log, model)
    save_half(model, ws.root / group / name)
    write_hashes(ws.root / group / name, experts_of(ws.group(group)))
    return facts
