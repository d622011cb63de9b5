"""Attention maps and the study of who denoises best: what is recorded, counted and drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from afa_bench.afa.maps import attention_maps
from afa_bench.afa.picture import HEAT, MODELS, heat
from afa_bench.afa.wins import Wins, denoising_wins
from afa_bench.cli import app
from afa_bench.errors import UserError
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
    assert len(set(MODELS)) == 6


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
