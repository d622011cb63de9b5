"""Attention maps and the study of who denoises best: what is recorded, counted and drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from afa_bench.afa.maps import attention_maps
from afa_bench.afa.picture import HEAT, MODELS, draw_wins, heat
from afa_bench.afa.wins import Wins, denoising_wins
from afa_bench.cli import app
from afa_bench.errors import UserError
from afa_bench.images.legend import COLOURS, Colour, colour_of
from afa_bench.images.letters import NOWHERE, font_for
from afa_bench.models.group import read_group
from afa_bench.models.load import LoadedGroup, load_group
from afa_bench.prompts.mini import MiniPrompts


@pytest.fixture(scope="module")
def mini() -> LoadedGroup:
    return load_group(read_group("mini-1", Path(), "test"), "cpu", torch.float32)


def test_maps_of_chosen_blocks_and_steps(mini: LoadedGroup) -> None:
    maps = attention_maps(mini, "dog on blue", 32, blocks=[0, -2], steps=[1, 3], of=3, guidance=3.0)
    assert maps.models == ["people", "nature", "things"]
    assert (maps.blocks, [maps.names[block] for block in maps.blocks]) == ([0, 23], ["conv_in", "up_blocks.3.1"])
    assert maps.timesteps[0] > maps.timesteps[1]
    assert maps.image.shape == (32, 32, 3)
    for weights in maps.weights:
        assert weights.shape == (2, 3, 8, 8)
        assert np.allclose(weights.sum(axis=1), 1, atol=1e-5)
        assert weights.std(axis=(2, 3)).min() > 1e-4, "maps which are flat in space show nothing"
    again = attention_maps(mini, "dog on blue", 32, blocks=[0], steps=[1], of=3, guidance=3.0)
    assert np.array_equal(again.weights[0][0], maps.weights[0][0])
    without = attention_maps(mini, "dog on blue", 32, blocks=[0], steps=[1], of=3, guidance=1.0)
    assert np.allclose(without.weights[0][0], maps.weights[0][0], atol=1e-5), (
        "with guidance they are the prompt's, not the empty one's"
    )


@pytest.mark.parametrize(
    ("blocks", "steps", "message"),
    [([25], [1], "blocks: 25; expected numbers from -25 to 24"), ([0], [4], "steps: 4; expected numbers from 1 to 3")],
)
def test_a_block_or_step_that_there_is_not(mini: LoadedGroup, blocks: list[int], steps: list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        attention_maps(mini, "x", 32, blocks=blocks, steps=steps, of=3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 33}, "size: 33; expected a multiple of"),
        ({"of": 2000}, "steps: 2000"),
        ({"guidance": float("nan")}, "maps: guidance: nan; expected a finite number"),
        ({"guidance": -1.0}, "maps: guidance: -1; expected a finite number"),
    ],
)
def test_what_cannot_be_sampled_is_one_line(mini: LoadedGroup, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        attention_maps(mini, "x", **{"size": 32, "blocks": [0], "steps": [1], "of": 3, **given})


@pytest.mark.parametrize(("timesteps", "found"), [([5000], "5000"), ([999, 1000, -1], "1000, -1"), ([], "none")])
def test_a_timestep_that_there_is_not(mini: LoadedGroup, timesteps: list[int], found: str) -> None:
    with pytest.raises(UserError, match=f"wins: timesteps: {found}; expected numbers below 1000"):
        denoising_wins(mini, MiniPrompts().prompts(Path())[:1], 32, timesteps=timesteps, noises=1)


MISTAKES: dict[str, tuple[list[str], str]] = {
    "another suffix": (["maps", "dog", "-o", "x.jpg"], "expected a name that ends in .png"),
    "another suffix of wins": (["wins", "-o", "x.json"], "expected a name that ends in .png"),
    "shares that cannot be written": (["wins", "-o", "taken.png"], "taken.json: is a folder"),
    "a prompt alone": (["wins", "--prompt", "dog"], "--prompt: does nothing without --image"),
    "both": (["wins", "--image", "x.png", "--prompts", "mini"], "--prompts: does nothing beside --image"),
    "no timesteps": (["wins", "--timesteps", ""], "wins: timesteps: none"),
    "a device": (["maps", "dog", "--device", "gpu"], "--device: gpu: no such device here"),
    "seed": (["maps", "dog", "--seed", str(2**63)], "Invalid value for '--seed'"),
    "size": (["maps", "dog", "--size", "100000000"], "Invalid value for '--size'"),
    "guidance": (["maps", "dog", "--guidance", "-1"], "Invalid value for '--guidance'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_of_the_command_line_is_one_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.json").mkdir()
    words, message = MISTAKES[case]
    found = CliRunner().invoke(app(), words)
    assert found.exit_code
    assert isinstance(found.exception, UserError | SystemExit)
    assert message in (str(found.exception) if isinstance(found.exception, UserError) else " ".join(found.output.split()))


def test_wins_of_real_experts(mini: LoadedGroup) -> None:
    prompts = [prompt for prompt in MiniPrompts().prompts(Path()) if prompt.category == "people"][:2]
    wins = denoising_wins(mini, prompts, 32, timesteps=[300, 600], noises=2)
    assert wins.winners.shape == (2, 2, 2, 8, 8)
    assert wins.shares().argmax() == 0, "the expert of people is the best on people"
    same = replace(mini, models=[mini.models[0]] * 2)
    assert denoising_wins(same, prompts[:1], 32, timesteps=[300], noises=1).shares().tolist() == [1, 0], "of equals the first"


def test_shares_by_prompt_noise_step_and_place() -> None:
    winners = np.zeros((2, 3, 4, 8, 8), dtype=np.int64)
    winners[1] = 1  # the second prompt
    winners[0, 2, :, :4, :4] = 1  # the first prompt's last step, in the upper left quarter
    wins = Wins(["a", "b"], ["p", "q"], [], [1, 2, 3], winners)
    table = wins.table(patches=2)
    assert table["overall"]["b"] == pytest.approx(0.5 + 0.5 / 12)
    assert table["by_prompt"]["q"] == {"a": 0, "b": 1}
    assert table["by_prompt"]["p"]["b"] == pytest.approx(1 / 12)
    assert [table["by_timestep"][step]["b"] for step in "123"] == pytest.approx([0.5, 0.5, 0.625])
    assert [row["b"] for row in table["by_noise"]] == pytest.approx([0.5 + 0.5 / 12] * 4)
    assert [[place["b"] for place in row] for row in table["by_place"]] == [[pytest.approx(2 / 3), 0.5], [0.5, 0.5]]


def test_heat_goes_from_dark_to_bright() -> None:
    colours = heat(np.array([[0.0, 0.5, 1.0, 2.0]]), 0, 1)[0]
    assert colours[0].tolist() == HEAT[0].tolist()
    assert colours[2].tolist() == colours[3].tolist() == HEAT[-1].tolist()
    assert np.diff(colours[:3].sum(axis=1, dtype=int)).min() > 0
    assert heat(np.ones((2, 2)), 1, 1).shape == (2, 2, 3), "a flat map has a colour too"


@pytest.mark.parametrize("palette", [MODELS, COLOURS])
def test_every_model_has_a_colour_of_its_own_and_a_part_of_the_bars(palette: Sequence[Colour]) -> None:
    many = [colour_of(number, palette) for number in range(20)]
    assert many[:6] == list(palette)
    nearest = min(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) for one, other in combinations(many, 2))
    assert nearest > 20**2
    winners = np.arange(2 * 9 * 9).reshape(1, 1, 2, 9, 9) % 9
    picture = draw_wins(Wins([f"model {n}" for n in range(9)], ["p"], [np.zeros((8, 8, 3), np.uint8)], [1], winners))
    there = {colour for _, colour in picture.getcolors(2**16) or ()}
    assert {colour_of(number, MODELS) for number in range(9)} <= there


LETTERS = {"plain": "a dog, 1/2", "French": "déjà vu – œuf", "Cyrillic": "собака на поле", "Greek": "σκύλος", "empty": ""}


@pytest.mark.parametrize("script", LETTERS)
def test_letters_are_not_boxes(script: str, caplog: pytest.LogCaptureFixture) -> None:
    """Pillow's own font has the letters of ASCII and few more; matplotlib's, or one of the system's, has others."""
    font = font_for(LETTERS[script], 16)
    box = font.getmask(NOWHERE)
    assert all(bytes(font.getmask(letter)) != bytes(box) for letter in LETTERS[script] if letter != " ")
    assert (font is font_for("a dog", 16)) == (script in ("plain", "empty"))
    assert not caplog.records


def test_letters_that_no_font_has_are_named(caplog: pytest.LogCaptureFixture) -> None:
    font_for("dog \ue123\ue124", 16)
    font_for("dog \ue123\ue124", 12)
    assert [record.getMessage() for record in caplog.records] == [
        "boxes stand in the place of letters that no font here has: \ue123\ue124"
    ]


@pytest.mark.slow
def test_the_command_line_draws(tmp_path: Path) -> None:
    found = CliRunner().invoke(app(), ["maps", "dog on blue", "--of", "2", "--blocks", "-1", "-o", str(tmp_path / "maps.png")])
    assert found.exit_code == 0, found.output
    assert min(Image.open(tmp_path / "maps.png").size) > 400
    picture = tmp_path / "own.png"
    Image.new("RGB", (40, 32), "red").save(picture)
    arguments = ["--image", str(picture), "--prompt", "a red card", "--timesteps", "500", "--noises", "1"]
    found = CliRunner().invoke(app(), ["wins", *arguments, "-o", str(tmp_path / "wins.png")])
    assert found.exit_code == 0, found.output
    assert min(Image.open(tmp_path / "wins.png").size) > 150
    table = json.loads((tmp_path / "wins.json").read_text())
    assert sum(table["by_prompt"]["a red card"].values()) == pytest.approx(1)
