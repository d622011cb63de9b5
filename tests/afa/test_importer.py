"""The reference release's aggregators, read as a SABW, give the maps that their own modules give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from afa_bench.afa.experts import Expert
from afa_bench.afa.importer import import_release
from afa_bench.afa.sabw import SABW
from afa_bench.cli import app
from afa_bench.errors import UserError

CHANNELS = [8, 16, 4]


class Release(torch.nn.Module):
    """The parts that an aggregator of the release consists of, stock modules of diffusers, whose defaults ask for 32 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_in = torch.nn.Conv2d(3 * channels, 32, 1)
        self.res_block = ResnetBlock2D(in_channels=32, temb_channels=32)
        self.transformer = Transformer2DModel(2, 16, 32, num_layers=2, cross_attention_dim=16)
        self.conv_out = torch.nn.Conv2d(32, 3, 1, bias=False)

    def forward(self, features: torch.Tensor, temb: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        hidden = self.transformer(self.res_block(self.conv_in(features), temb), text).sample
        return self.conv_out(hidden).softmax(dim=1)


@pytest.fixture
def release(tmp_path: Path) -> tuple[Path, list[Release]]:
    torch.manual_seed(0)
    modules = []
    for index, channels in enumerate(CHANNELS):
        module = Release(channels).eval().requires_grad_(False)
        folder = tmp_path / f"aggregator_{index}"
        folder.mkdir()
        save_file(module.state_dict(), folder / "aggregator.safetensors")
        config = {
            "in_channels": channels, "hidden_size": 32, "num_experts": 3, "num_layers": 2, "num_attn_heads": 2,
            "cross_attn_dim": 16, "temb_channels": 32,
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        modules.append(module)
    return tmp_path, modules


def test_every_block_s_maps_are_the_release_s(release: tuple[Path, list[Release]]) -> None:
    folder, modules = release
    sabw = import_release(folder, experts=["one", "two", "three"])
    assert sabw.config.channels == CHANNELS
    for index, channels in enumerate(CHANNELS):
        features = [torch.randn(2, channels, 4, 3) for _ in range(3)]
        temb, text = torch.randn(2, 32), torch.randn(2, 6, 16)
        expected = modules[index](torch.cat(features, dim=1), temb, text)
        assert expected.std() > 1e-3
        torch.testing.assert_close(sabw.maps(index, features, temb, text), expected, rtol=1e-5, atol=1e-6)


def test_the_command_line_writes_a_sabw(release: tuple[Path, list[Release]], tiny_group: Path, tmp_path: Path) -> None:
    one, out = tiny_group.parent / "one", tmp_path / "new" / "sabw"
    call = ["import-sabw", str(release[0]), "-o", str(out), "--experts"]
    found = CliRunner().invoke(app(), [*call, f"{one}, someone/two, three"])
    assert found.exit_code == 0, found.output
    written, read = SABW.read(out), import_release(release[0])
    assert f"3 models, 3 blocks, {sum(value.numel() for value in read.parameters()):,} parameters" in found.output
    assert all(torch.equal(value, written.state_dict()[key]) for key, value in read.state_dict().items())
    assert written.config.experts == [Expert.of(one).entry(), Expert("someone/two").entry(), Expert("three").entry()]
    assert isinstance(CliRunner().invoke(app(), [*call, "one,two,three"]).exception, UserError), "nothing is overwritten"
    call[3] = str(tmp_path / "other")
    wrong = CliRunner().invoke(app(), [*call, "one,two"]).exception
    assert "--experts: found 2; expected 3" in str(wrong)
    assert not (tmp_path / "other").exists()


def lose(folder: Path) -> None:
    (folder / "aggregator_1" / "aggregator.safetensors").unlink()


def rename(folder: Path) -> None:
    (folder / "aggregator_1").rename(folder / "aggregator_99")


def other_key(folder: Path) -> None:
    file = folder / "aggregator_1" / "aggregator.safetensors"
    save_file({**load_file(file), "more": torch.zeros(1)}, file)


def other_width(folder: Path) -> None:
    file = folder / "aggregator_1" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "in_channels": 5}))


def other_size(folder: Path) -> None:
    file = folder / "aggregator_1" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "hidden_size": 64}))


def no_number(folder: Path) -> None:
    (folder / "aggregator_1" / "config.json").write_text('{"in_channels": "many"}')


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lose, r"aggregator_1.aggregator\.safetensors: not an aggregator of this configuration"),
        (rename, r"aggregator_1.config\.json: expected the configuration"),
        (other_key, "unknown weight more"),
        (other_width, r"aggregator_1.aggregator\.safetensors: .*size mismatch"),
        (other_size, "hidden_size: found 64; expected 32 as in the first"),
        (no_number, "in_channels: expected a whole number"),
    ],
)
def test_what_is_damaged_is_one_line(release: tuple[Path, list[Release]], damage: Any, match: str) -> None:
    damage(release[0])
    with pytest.raises(UserError, match=match) as caught:
        import_release(release[0])
    assert "\n" not in str(caught.value)


def test_no_release(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected folders aggregator_0"):
        import_release(tmp_path)
