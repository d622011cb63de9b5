"""The official packages' set metrics on two folders of images, all with one random Inception; ``runner.py`` runs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

CPU = torch.device("cpu")

LAST = tuple(
    f"{branch}.bn.{kind}"
    for branch in ("branch1x1", "branch3x3_2a", "branch3x3_2b", "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool")
    for kind in ("weight", "bias")
)
"""Ends of the names of the last block's last normalisations."""


def run_sets(job: dict[str, Any]) -> dict[str, Any]:
    """FID of clean-fid, pytorch-fid and torch-fidelity, IS and KID of torch-fidelity, and the features of all images.

    ``job["sets"]``: the two folders; ``job["sets PACKAGE"]``: others for one package.
    ``job["features"]``: a folder for ``PACKAGE.npz`` with ``first`` and ``second`` ``(n, 2048)``.
    ``job["splits"]``, ``job["subset"]``: of IS and KID.
    """
    images = [path for folder in job["sets"] for path in sorted(Path(folder).iterdir())[::2]]
    weights = inception_weights(Path(job["weights"]), images)
    answers: dict[str, Any] = {}
    packages: tuple[Callable[[list[str], dict[str, Any], Path], Any], ...] = (clean_fid, pytorch_fid, torch_fidelity)
    for run in packages:
        name = run.__name__.replace("_", "-")
        begun = time.perf_counter()
        values, features = run(job.get(f"sets {name}", job["sets"]), job, weights)
        answers[name] = values | {"seconds": time.perf_counter() - begun}
        np.savez(Path(job["features"]) / f"{name}.npz", **features)
    return answers


def inception_weights(folder: Path, images: list[Path]) -> Path:
    """A random file in the layout of ``pt_inception-2015-12-05-6726825d.pth``.

    Its normalisations hold the statistics of ``images``, as a trained network's hold those of its images: without them all images
    look alike.
    """
    from runner import drawn
    from torchvision.models import inception_v3

    file = folder / "inception.pth"
    if not file.is_file():
        network = inception_v3(num_classes=1008, aux_logits=False, init_weights=False)
        network.load_state_dict(drawn(network.state_dict()))
        if images:
            _see(network, images)
        state = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
        for name in state:
            if name.startswith("Mixed_7c") and name.endswith(LAST):
                state[name] *= 0.3  # features of the size that the published network's have
        state["fc.weight"] *= 4  # probabilities that are neither all the same nor all on one class
        torch.save(state, file)
    return file


def _see(network: torch.nn.Module, images: list[Path]) -> None:
    """Have the normalisations take on the statistics of images."""
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    sized = [pil_to_tensor(Image.open(path).convert("RGB").resize((299, 299))) for path in images]
    with torch.no_grad():
        network.train()(torch.stack(sized) / 127.5 - 1)


def clean_fid(sets: list[str], job: dict[str, Any], weights: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """clean-fid's ``clean`` mode."""
    from cleanfid import fid

    network = clean_network(weights)
    first, second = (
        fid.get_folder_features(folder, network, num_workers=0, batch_size=8, device=CPU, mode="clean", verbose=False)
        for folder in sets
    )
    return {"fid": float(fid.fid_from_feats(first, second))}, {"first": first, "second": second}


def clean_network(weights: Path) -> Any:
    """clean-fid's TorchScript network, traced from pytorch-fid's, of which it is a copy."""
    from cleanfid import inception_torchscript
    from pytorch_fid import inception

    class Script(torch.nn.Module):
        def __init__(self, blocks: Any) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(*(layer for block in blocks for layer in block), torch.nn.Flatten())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x)  # type: ignore[no-any-return]

    inception.load_state_dict_from_url = lambda url, progress: torch.load(weights)
    script = Script(inception.InceptionV3().blocks).eval()
    torch.jit.trace(script, torch.zeros(1, 3, 299, 299)).save(weights.parent / "inception-2015-12-05.pt")
    return inception_torchscript.InceptionV3W(str(weights.parent), download=False)


def pytorch_fid(sets: list[str], job: dict[str, Any], weights: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """pytorch-fid on single images: it cannot batch images of several sizes."""
    from pytorch_fid import inception
    from pytorch_fid.fid_score import calculate_frechet_distance, get_activations

    inception.load_state_dict_from_url = lambda url, progress: torch.load(weights)
    network = inception.InceptionV3()
    first, second = (get_activations(sorted(Path(folder).iterdir()), network, batch_size=1, num_workers=0) for folder in sets)
    moments = [moment for part in (first, second) for moment in (np.mean(part, axis=0), np.cov(part, rowvar=False))]
    return {"fid": float(calculate_frechet_distance(*moments))}, {"first": first, "second": second}


def torch_fidelity(sets: list[str], job: dict[str, Any], weights: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """torch-fidelity, its default extractor and seeds, on single images."""
    from torch_fidelity import metric_fid, metric_isc, metric_kid, utils

    settings: dict[str, Any] = {
        "input1": sets[0],
        "input2": sets[1],
        "batch_size": 1,
        "cuda": False,
        "verbose": False,
        "cache": False,
        "save_cpu_ram": True,
        "feature_extractor_weights_path": str(weights),
        "isc_splits": job["splits"],
        "kid_subset_size": job["subset"],
    }
    extractor = utils.create_feature_extractor("inception-v3-compat", ["2048", "logits_unbiased"], **settings)
    first, second = (utils.extract_featuresdict_from_input_id(number, extractor, **settings) for number in (1, 2))
    statistics = [metric_fid.fid_featuresdict_to_statistics(part, "2048") for part in (first, second)]
    values = {
        "fid": metric_fid.fid_statistics_to_metric(*statistics, verbose=False)[metric_fid.KEY_METRIC_FID],
        "is": metric_isc.isc_featuresdict_to_metric(first, "logits_unbiased", **settings)[metric_isc.KEY_METRIC_ISC_MEAN],
        "kid": metric_kid.kid_featuresdict_to_metric(first, second, "2048", **settings)[metric_kid.KEY_METRIC_KID_MEAN],
    }
    return values, {"first": first["2048"].numpy(), "second": second["2048"].numpy()}


def distances(file: Path) -> dict[str, dict[str, float]]:
    """The Fréchet distance of two matrices of features, and the seconds of one core it takes from their moments on.

    clean-fid's code is pytorch-fid's.
    """
    from cleanfid.fid import frechet_distance
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    with np.load(file) as content:
        first, second = content["first"], content["second"]
    (mu1, sigma1), (mu2, sigma2) = ((np.mean(part, axis=0), np.cov(part, rowvar=False)) for part in (first, second))

    def fidelity() -> float:
        statistics = {"mu": mu1, "sigma": sigma1}, {"mu": mu2, "sigma": sigma2}
        return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])

    ways: dict[str, Callable[[], float]] = {
        "clean-fid": lambda: float(frechet_distance(mu1, sigma1, mu2, sigma2)),
        "torch-fidelity": fidelity,
    }
    answers = {}
    for name, way in ways.items():
        begun = time.process_time()
        answers[name] = {"value": way(), "seconds": time.process_time() - begun}
    return answers
