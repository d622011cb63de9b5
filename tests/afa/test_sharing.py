"""An aggregator is pushed to a hub, and a library user's ensemble is loaded from there by ids and revisions alone."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aggregators import randomised, tiny_sabw
from servers import COMMIT, Handler, World, served

from afa_bench.afa.experts import Expert

HERE = "someone/"


class Hub(Handler):
    """The hub's layout with what a push and a snapshot need beside its files."""

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        if not self.path.startswith("/api/models/"):
            return super().do_GET()
        place = self.path.partition("?")[0].removeprefix("/api/models/")
        repository = "/".join(place.split("/")[:2])
        files = [key.removeprefix(f"/{repository}/") for key in self.world.files if key.startswith(f"/{repository}/")]
        if "/tree/" in place:
            sizes = [{"type": "file", "path": name, "oid": "0" * 40, "size": 1} for name in files]
            return self.send(sizes)
        about = {"id": repository, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "likes": 0}
        return self.send({**about, "siblings": [{"rfilename": name} for name in files]}) if files else self.answer(404)

    def do_POST(self) -> None:  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            return self.send({"url": f"{self.world.address}/{HERE}{json.loads(body)['name']}"})
        if "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            return self.send({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]})
        if "/commit/" in self.path:
            repository = "/".join(self.path.removeprefix("/api/models/").split("/")[:2])
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.world.files[f"/{repository}/{value['path']}"] = base64.b64decode(value["content"])
            return self.send({"commitUrl": f"{self.world.address}/{repository}/commit/{COMMIT}", "commitOid": COMMIT})
        return self.send({"errors": [], "warnings": []})

    def send(self, value: object) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


SCRIPT = """
import pathlib, sys, torch
from afa_bench.afa.pipeline import AFAPipeline
from afa_bench.afa.sabw import SABW
folder = pathlib.Path(sys.argv[1])
SABW.read(folder / "sabw").push_to_hub("someone/sabw")
pipe = AFAPipeline.from_experts(sabw="someone/sabw", base="someone/base", safety_checker=None)
local = SABW.read(folder / "sabw").state_dict()
assert all(torch.equal(value, local[key]) for key, value in pipe.unet.aggregator.state_dict().items())
image = pipe("a red dog", num_inference_steps=1, height=8, width=8, output_type="pt").images
print("drawn", tuple(image.shape))
"""


@pytest.mark.slow
def test_push_and_load_by_ids(tiny_group: Path, tmp_path: Path) -> None:
    folder, world = tiny_group.parent, World()
    for name in ("base", "one", "two"):
        for file in sorted((folder / name).rglob("*")):
            if file.is_file():
                world.files[f"/{HERE}{name}/{file.relative_to(folder / name)}"] = file.read_bytes()
    experts = [Expert.of(folder / name, HERE + name, COMMIT).entry() for name in ("one", "two")]
    randomised(tiny_sabw(2, hidden=8, layers=1, experts=experts)).save_pretrained(tmp_path / "sabw")
    with served(world, Hub):
        environment = {
            **os.environ, "HF_ENDPOINT": world.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_test",
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "0",
        }  # fmt: skip
        command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "drawn (1, 3, 8, 8)" in done.stdout
    assert any(path.startswith(f"/{HERE}one/resolve/{COMMIT}/unet/") for _, path, _ in world.seen)
    assert not any("/vae/" in path and f"/{HERE}one/" in path for _, path, _ in world.seen)
    assert json.loads(world.files[f"/{HERE}sabw/config.json"])["experts"] == experts
