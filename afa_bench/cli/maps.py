"""``afa-bench maps`` and ``afa-bench wins``: who does what where in an ensemble, as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afa_bench.cli.options import file_to_write, path

if TYPE_CHECKING:
    from afa_bench.models.load import LoadedGroup

PNG = file_to_write(".png")

GROUP = typer.Option(help="A packaged group, or a group's YAML file.")
SIZE = typer.Option(min=8, max=8192, help="Height and width of the image in pixels; by default the models' own.")
DEVICE = typer.Option(help="cpu, cuda, mps; by default the best there is.")


def maps(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The PNG file.", metavar="FILE", callback=PNG)] = Path("maps.png"),
    group: Annotated[str, GROUP] = "mini-1",
    sabw: Annotated[Path | None, typer.Option(help="The aggregator's folder; by default the group's own.", parser=path)] = None,
    blocks: Annotated[
        str, typer.Option(help="Blocks, counted from 0; -1 is the last. The paper shows the first and 24th.")
    ] = "0,-2",
    steps: Annotated[str, typer.Option(help="Sampling steps, counted from 1; by default six, evenly spread.")] = "",
    of: Annotated[int, typer.Option(min=1, help="Number of sampling steps.")] = 50,
    guidance: Annotated[float, typer.Option(min=0, help="Classifier-free guidance scale.")] = 7.5,
    size: Annotated[int | None, SIZE] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the initial noise.")] = 0,
    device: Annotated[str, DEVICE] = "",
) -> None:
    """Draw the weight of each model at each place, in chosen blocks and steps, over the image (the paper, figure 6)."""
    from afa_bench.afa.maps import attention_maps
    from afa_bench.afa.method import AFAOptions
    from afa_bench.afa.picture import draw_maps, save
    from afa_bench.cli.options import numbers
    from afa_bench.terminal import output

    loaded = _loaded(group, device)
    chosen = numbers(steps, "--steps") if steps else sorted({1 + round(i * (of - 1) / 5) for i in range(6)})
    found = attention_maps(
        loaded, prompt, size or _own_size(loaded), blocks=_signed(blocks), steps=chosen, of=of, guidance=guidance, seed=seed,
        options=AFAOptions(sabw=sabw),
    )  # fmt: skip
    save(draw_maps(found), out)
    output().print(str(out))


def wins(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The PNG file; the shares go beside it, as JSON.", callback=PNG)
    ] = Path("wins.png"),
    group: Annotated[str, GROUP] = "mini-1",
    prompts: Annotated[
        str, typer.Option(help="A prompt set with images: mini, coco2017, journeydb...", show_default="mini")
    ] = "",
    image: Annotated[Path | None, typer.Option(help="In place of a prompt set: one image...", parser=path)] = None,
    prompt: Annotated[str, typer.Option(help="... and its description.")] = "",
    count: Annotated[int, typer.Option(min=1, help="How many of the prompt set's prompts.")] = 4,
    timesteps: Annotated[str, typer.Option(help="At which the images are noised.")] = "100,300,500,700,900",
    noises: Annotated[int, typer.Option(min=1, help="Noises for each image and timestep.")] = 8,
    size: Annotated[int | None, SIZE] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noises.")] = 0,
    device: Annotated[str, DEVICE] = "",
) -> None:
    """Draw which model denoises best by prompt, noise, step and place (the paper, figure 1), and write the shares of wins."""
    from functools import partial

    from afa_bench import registry
    from afa_bench.afa.picture import draw_wins, save
    from afa_bench.afa.wins import denoising_wins
    from afa_bench.cli.options import numbers
    from afa_bench.errors import UserError
    from afa_bench.images.stored import in_file
    from afa_bench.log import LOG
    from afa_bench.outputs import new_file
    from afa_bench.prompts.base import Prompt, PromptSet, read_prompts
    from afa_bench.reading import validated
    from afa_bench.store.atomic import write_json
    from afa_bench.terminal import Bars, output

    shares = new_file(out.with_suffix(".json"), "--out")
    if prompt and image is None:
        raise UserError("--prompt: does nothing without --image, which it describes")
    if image is not None and prompts:
        raise UserError("--prompts: does nothing beside --image; expected one of the two")
    prompts = prompts or "mini"
    if image is not None:
        chosen = [Prompt(image.name, prompt, image=in_file(image))]
    else:
        found_set: PromptSet = validated(registry.load("prompts", prompts, "--prompts"), {}, f"--prompts: {prompts}")
        known = read_prompts(found_set, Path(), f"--prompts: {prompts}")
        chosen = [one for one in known if one.image is not None][:count]
    if not chosen:
        raise UserError(f"--prompts: {prompts} has no images; expected a prompt set with images, or --image")
    if image is None and len(chosen) < count:
        LOG.warning("--count: %s; the prompt set %s has %s images", count, prompts, len(chosen))
    loaded, at = _loaded(group, device), numbers(timesteps, "--timesteps")
    bars, pixels = Bars(), size or _own_size(loaded)
    with bars.stage("denoising", len(chosen) * len(at)):
        advance = partial(bars.advance, "", 1)
        found = denoising_wins(loaded, chosen, pixels, timesteps=at, noises=noises, seed=seed, advance=advance)
    save(draw_wins(found), out)
    write_json(shares, found.table())
    output().print(f"{out}\n{shares}")


def _loaded(group: str, device: str) -> LoadedGroup:
    import torch

    from afa_bench.devices import chosen_device
    from afa_bench.models.group import read_group
    from afa_bench.models.load import load_group

    chosen = chosen_device(device)
    return load_group(read_group(group, Path(), "--group"), chosen, torch.float16 if "cuda" in chosen else torch.float32)


def _own_size(loaded: LoadedGroup) -> int:
    """The image size that a group's models were made for.

    Raises:
        UserError: they do not say it.
    """
    from afa_bench.errors import UserError

    latent = getattr(loaded.models[0].unet.config, "sample_size", None)
    if not isinstance(latent, int):
        raise UserError(f"--size: the models of group {loaded.group.name} do not say theirs; expected a number of pixels")
    return int(latent * 2 ** (len(loaded.vae.config.block_out_channels) - 1))


def _signed(text: str) -> list[int]:
    from afa_bench.errors import UserError

    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UserError(f"--blocks: expected whole numbers such as 0,-2, found {text!r}") from None
