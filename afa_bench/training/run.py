"""A training from its file to the folder of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import accelerate
import diffusers
import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

import afa_bench
from afa_bench import registry
from afa_bench.checkpoints.hashing import hash_weights
from afa_bench.denoiser import require_denoiser
from afa_bench.errors import UserError
from afa_bench.identity import fingerprint
from afa_bench.log import LOG
from afa_bench.models.cut import cut_notes
from afa_bench.models.identity import group_identity
from afa_bench.models.learned import save_learned
from afa_bench.models.load import load_group
from afa_bench.models.sampling import check_size
from afa_bench.training.cache import Encoding, cache_pairs
from afa_bench.training.checkpoint import Checkpoint, lasting
from afa_bench.training.config import TrainConfig
from afa_bench.training.loop import CHECKPOINT, accelerator_of, fit
from afa_bench.training.pairs import Subset, generator
from afa_bench.training.record import Record
from afa_bench.training.trainable import Learner

WEIGHTS = "weights"
"""Folder of the learned part, within a training's."""


class TrainingProgress(Protocol):
    """What a training tells while it runs."""

    def encoded(self, count: int, total: int) -> None:
        """So many more pairs are in the cache."""

    def trained(self, done: int, total: int, values: Mapping[str, float]) -> None:
        """Steps done, and the last logged values."""


@dataclass(frozen=True)
class TrainingOutcome:
    """Where the weights are, and the last logged values."""

    weights: Path
    values: Mapping[str, float]


def train(config: TrainConfig, folder: Path, progress: TrainingProgress, cache: Path | None = None) -> TrainingOutcome:
    """Train what a file says into a folder; where a part of it is done, go on.

    The folder gets ``weights/`` (the learned part, as ``save_pretrained`` writes it), ``log.jsonl``, ``checkpoint.pt``,
    ``training.json`` (all settings, the sha256 of every frozen model, and the steps that are done) and ``cache/``. Whether the
    folder has another training is found out before anything is written to it.

    Args:
        config: a validated file.
        folder: of this training; another training's is refused.
        progress: told by the main process.
        cache: folder of encoded pairs, in place of the one in ``folder``.

    Raises:
        UserError: a mistake in the file, or models and data that do not fit.
        KeyboardInterrupt: interrupted, after a checkpoint was written.
    """
    group, (trainable, options) = config.read_group(), config.read_trainable()
    architecture = group.family
    if config.lcm is not None and architecture.flow:
        raise UserError(f"{config.file}: lcm: group {group.name}: expected models that predict noise, not {architecture.title}")
    if config.lcm is not None and getattr(options, "start", None) is None:
        raise UserError(f"{config.file}: trainable: start: expected a folder of trained weights to distil")
    try:
        check_size(group, config.size)
    except UserError as error:
        raise UserError(f"{config.file}: {error} (group {group.name})") from error
    prompts = config.read_pairs()
    repeats = [prompt.repeats for prompt in prompts]
    rows, held_out = _split(repeats, config)
    with _in(config):
        steps = config.steps_for(len(rows))
    for note in cut_notes(group, [prompt.text for prompt in prompts], noun="captions"):
        LOG.warning("%s", note)
    accelerator = _accelerator(config, folder)
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(accelerator.mixed_precision, torch.float32)
    loaded = load_group(group, str(accelerator.device), dtype)
    torch.manual_seed(config.seed)  # a fresh learned part is drawn from it
    with _in(config):
        learner = trainable.build(group, loaded.models, options)
        if not isinstance(learner, Learner):
            raise UserError(f"trainable: {trainable.name}: build: expected a Learner, found {learner!r}")
        require_denoiser(learner.denoiser, f"trainable: {trainable.name}")
        encoders = learner.denoiser.text_encoders
        encoding = Encoding.of(loaded, encoders, config.size, config.crops, config.seed)
    objective = architecture.objective(loaded.scheduler, learner.denoiser.unet, config.guidance)
    if objective.guidance is None and "guidance" in config.model_fields_set:
        raise UserError(f"{config.file}: guidance: the models of group {group.name} are told none; expected it left out")

    identity, weights, keys = group_identity(group), trainable.weights(options), encoding.keys(prompts)
    about = {
        "trainable": trainable.name,
        **registry.origin(type(trainable)),
        "options": {key: value for key, value in options.model_dump(mode="json").items() if key not in weights},
        **({"weights": {role: hash_weights(path) for role, path in weights.items()}} if weights else {}),
        "models": identity["models"],
        "order": identity["order"],
        "pairs": keys.whole[:16],
        "validation": config.validation,
        **({"repeats": fingerprint(repeats)} if set(repeats) != {1} else {}),
        **{key: identity["pipeline"][key] for key in ("schedule",) if key in identity["pipeline"]},
    }
    done = _done(folder, steps, {**lasting(config, steps, accelerator.mixed_precision, learner, objective), **about})
    with _in(config):
        pairs = cache_pairs(
            prompts,
            encoding,
            cache or folder / "cache",
            lambda count: progress.encoded(count, len(prompts)) if accelerator.is_main_process else None,
            accelerator.process_index,
            accelerator.num_processes,
            accelerator.wait_for_everyone,
            keys,
        )
    for module in (loaded.vae, *encoding.distinct):
        module.to("cpu")  # their work is done

    versions = {module.__name__: module.__version__ for module in (afa_bench, torch, diffusers, accelerate)}
    facts = {**config.model_dump(mode="json"), **about, "processes": accelerator.num_processes, "versions": versions}
    record = Record(folder, facts, done) if accelerator.is_main_process else None
    trained, held = Subset(pairs, rows), Subset(pairs, held_out) if held_out else None
    values: dict[str, float] = {}

    def report(done: int, total: int, latest: Mapping[str, float]) -> None:
        values.update(latest)
        progress.trained(done, total, latest)

    more: dict[str, Any] = {"validation": held, "report": report, "accelerator": accelerator, "about": about}
    if record is not None:
        more["saved"] = record.write
    with _in(config):
        learned = fit(learner, objective, trained, config, folder=folder, **more)
    if accelerator.is_main_process:
        save_learned(learned, folder / WEIGHTS)
    accelerator.end_training()
    return TrainingOutcome(folder / WEIGHTS, values)


@contextmanager
def _in(config: TrainConfig) -> Iterator[None]:
    """Within it, errors about settings name the file that they stand in."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{config.file}: {str(error).removeprefix('train: ')}") from error


def _done(folder: Path, steps: int, about: Mapping[str, Any]) -> int | None:
    """Steps that are done, before anything is written.

    Raises:
        UserError: the folder has another training, or weights that would be replaced by those of a training from its beginning.
    """
    done = Checkpoint(folder / CHECKPOINT, about, {}).steps_done(steps)
    if done is None and (folder / WEIGHTS).exists():
        raise UserError(
            f"{folder / WEIGHTS}: would be replaced: there is no {CHECKPOINT} to go on from; train into another folder"
        )
    return done


def _accelerator(config: TrainConfig, folder: Path) -> Accelerator:
    known = [str(tracker) for tracker in get_available_trackers()]
    for tracker in config.trackers:
        if tracker not in known:
            raise UserError(f"{config.file}: trackers: {tracker} is not installed: pip install {tracker}")
    with _in(config):
        return accelerator_of(config, log_with=list(config.trackers) or None, project_dir=str(folder))


def _split(repeats: Sequence[int], config: TrainConfig) -> tuple[list[int], list[int]]:
    """The rows of the pairs to train on, each as often as it is repeated, and of those held out, drawn by the seed.

    Raises:
        UserError: fewer pairs than are held out and a batch has.
    """
    order = torch.randperm(len(repeats), generator=generator(config.seed, 0, 1)).tolist()
    held, rest = order[: config.validation], order[config.validation :]
    rows = [row for row in sorted(rest) for _ in range(repeats[row])]
    if len(held) < config.validation or len(rows) < config.batch:
        expected = f"at least {config.validation} for validation and {config.batch} for a batch"
        raise UserError(f"{config.file}: data: {len(repeats)} pairs; expected {expected}")
    return rows, sorted(held)
