"""The official scorers of one image and its caption, by the names in a job. ``runner.py``, beside it, runs them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from afa_bench.official.runner import CLIP_SIZES, HUGE_SIZES, Loop, bert_vocabulary, drawn
else:  # in the interpreter of the official packages there is no afa_bench
    from runner import CLIP_SIZES, HUGE_SIZES, Loop, bert_vocabulary, drawn

BERT = {
    "architectures": ["BertModel"],
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "max_position_embeddings": 512,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "vocab_size": 30524,
    "encoder_width": 768,
    "add_cross_attention": True,
}


class _Clip(Loop):
    """``ImageReward.load_score("CLIP")``: openai's clip; raw cosine of image and caption."""

    filenames: tuple[str, ...] = ("clip.pt",)

    def draw(self) -> None:
        import clip.model

        sizes = CLIP_SIZES[self.size]
        (vision, layers), (text, depth) = sizes["vision"], sizes["text"]
        with torch.device("meta"):
            network = clip.model.CLIP(sizes["embed"], 224, layers, vision, 14, 77, 49408, text, text // 64, depth)
        torch.save(drawn(network.state_dict(), half=True), self.file)  # clip rounds weights to half precision as it loads them

    def load(self) -> None:
        self.scorer = self.replaced("CLIPScore").CLIPScore("", device=self.device)
        self.scorer.eval()

    def replaced(self, name: str) -> Any:
        """A module of ImageReward, which finds the drawn weights where it asks for OpenAI's."""
        import clip.clip

        module: Any = import_module(f"ImageReward.models.{name}")

        class Local:
            def __getattr__(self, name: str) -> Any:
                return getattr(clip, name)

        local: Any = Local()
        local.load = lambda name, **options: clip.clip.load(str(self.file), device=self.device)
        module.clip = local
        return module

    def score(self, image: str, caption: str) -> float:
        with torch.no_grad():
            return float(self.scorer.score(caption, image))

    def pixels(self, image: str) -> Any:
        from PIL import Image

        return self.scorer.preprocess(Image.open(image))


class _ClipImage(_Clip):
    """openai's clip: raw cosine of two images, the second one being the first case's."""

    def begin(self, cases: Sequence[tuple[str, str]]) -> None:
        self.first = cases[0][0]

    def score(self, image: str, caption: str) -> float:
        with torch.no_grad():
            first, second = (self._embedding(path) for path in (image, self.first))
            return float((first * second).sum())

    def _embedding(self, path: str) -> Any:
        embedding = self.scorer.clip_model.encode_image(self.pixels(path).unsqueeze(0).to(self.device))
        return torch.nn.functional.normalize(embedding)


class _Aesthetic(_Clip):
    """``ImageReward.load_score("Aesthetic")``: the LAION predictor (sac+logos+ava1-l14-linearMSE)."""

    filenames: tuple[str, ...] = ("clip.pt", "aesthetic.pth")

    def draw(self) -> None:
        super().draw()
        head = import_module("ImageReward.models.AestheticScore").MLP(768)
        torch.save(drawn(head.state_dict()), self.folder / "aesthetic.pth")

    def load(self) -> None:
        self.scorer = self.replaced("AestheticScore").AestheticScore("", device=self.device)
        self.scorer.mlp.load_state_dict(torch.load(self.folder / "aesthetic.pth"))
        self.scorer.eval()


class _ImageReward(Loop):
    """``ImageReward.load(...).score``."""

    filenames: tuple[str, ...] = ("imagereward.pt",)

    def _replaced(self) -> Any:
        from ImageReward.models.BLIP import blip
        from transformers import BertTokenizer

        class Local:
            @staticmethod
            def from_pretrained(name: str) -> Any:
                return BertTokenizer(str(bert_vocabulary()))

        blip.BertTokenizer = Local
        return blip

    def draw(self) -> None:
        import ImageReward
        from accelerate import init_empty_weights

        self._replaced()
        (self.folder / "med_config.json").write_text(json.dumps(BERT))
        with init_empty_weights():
            network = ImageReward.ImageReward(med_config=str(self.folder / "med_config.json"))
        state = drawn(network.state_dict())
        state["mlp.layers.7.weight"] *= 0.3  # rewards of the size that real ones have
        torch.save(state, self.file)

    def load(self) -> None:
        import ImageReward

        self._replaced()
        self.scorer = ImageReward.load(str(self.file), device=self.device, med_config=str(self.folder / "med_config.json"))

    def score(self, image: str, caption: str) -> float:
        with torch.no_grad():
            return float(self.scorer.score(caption, image))

    def pixels(self, image: str) -> Any:
        from PIL import Image

        return self.scorer.preprocess(Image.open(image))


class _HPSv2(Loop):
    """``hpsv2.img_score.score``, which reads its checkpoint anew for every call."""

    filenames: tuple[str, ...] = ("hpsv2.pt",)
    antialias: bool = True

    def _network(self) -> tuple[Any, Any]:
        from hpsv2.src.open_clip import add_model_config, create_model_and_transforms

        sizes = HUGE_SIZES[self.size]
        (vision, layers), (text, depth) = sizes["vision"], sizes["text"]
        config = {
            "embed_dim": sizes["embed"],
            "vision_cfg": {"image_size": 224, "layers": layers, "width": vision, "head_width": 80, "patch_size": 14},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": text, "heads": text // 64, "layers": depth},
        }
        name = f"ViT-H-14-{self.size}"
        (self.folder / f"{name}.json").write_text(json.dumps(config))
        add_model_config(self.folder / f"{name}.json")
        # As hpsv2.img_score.initialize_model, without laion's weights: the checkpoint has them all.
        made = create_model_and_transforms(name, None, precision="amp", light_augmentation=True, output_dict=True)
        return made[0], made[2]

    def draw(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            network, _ = self._network()
        state = drawn(network.state_dict(), half=True)
        torch.save({"state_dict": {name: tensor.half() for name, tensor in state.items()}}, self.file)  # as it is published

    def load(self) -> None:
        from hpsv2 import img_score
        from hpsv2.src.open_clip import transform

        img_score.model_dict.clear()  # before the next network takes its memory
        network, preprocess = self._network()
        img_score.model_dict.update(model=network, preprocess_val=preprocess)
        self.module, self.preprocess = img_score, preprocess
        transform.F = _Functional(self.antialias)

    def score(self, image: str, caption: str) -> float:
        return float(self.module.score(image, caption, cp=str(self.file))[0])

    def pixels(self, image: str) -> Any:
        from PIL import Image

        return self.preprocess(Image.open(image))


class _HPSv2Legacy(_HPSv2):
    """The same with tensors resized without antialiasing, the default of torchvision before 0.17."""

    antialias = False


class _Functional:
    """``torchvision.transforms.functional`` of one default or the other."""

    def __init__(self, antialias: bool) -> None:
        self.antialias = antialias

    def __getattr__(self, name: str) -> Any:
        from torchvision.transforms import functional

        return getattr(functional, name)

    def resize(self, image: Any, size: Any, interpolation: Any) -> Any:
        from torchvision.transforms import functional

        return functional.resize(image, size, interpolation, antialias=self.antialias)


class _HPSv2Loaded(_HPSv2):
    """The same without the checkpoint's reading: the rest of ``hpsv2.img_score.score``."""

    def load(self) -> None:
        super().load()
        from hpsv2.src.open_clip import get_tokenizer

        self.tokenizer = get_tokenizer("ViT-H-14")
        self.network = self.module.model_dict["model"]
        self.network.load_state_dict(torch.load(self.file, mmap=True)["state_dict"])
        self.network.to(self.device).eval()

    def score(self, image: str, caption: str) -> float:
        inputs = self.pixels(image).unsqueeze(0).to(self.device), self.tokenizer([caption]).to(self.device)
        with torch.no_grad(), torch.autocast("cuda", enabled=self.device == "cuda"):
            outputs = self.network(*inputs)
            return float(torch.diagonal(outputs["image_features"] @ outputs["text_features"].T)[0])


class _PickScore(Loop):
    """The model card's ``calc_probs``, one pair at a time: transformers' CLIPModel and CLIPProcessor."""

    filenames: tuple[str, ...] = ("pickscore/model.safetensors",)

    def _config(self) -> Any:
        from transformers import CLIPConfig

        sizes = HUGE_SIZES[self.size]
        (vision, layers), (text, depth) = sizes["vision"], sizes["text"]
        return CLIPConfig(
            text_config={
                "hidden_size": text,
                "intermediate_size": 4 * text,
                "num_attention_heads": text // 64,
                "num_hidden_layers": depth,
                "hidden_act": "gelu",
                "projection_dim": sizes["embed"],
            },
            vision_config={
                "hidden_size": vision,
                "intermediate_size": 4 * vision,
                "num_attention_heads": vision // 80,
                "num_hidden_layers": layers,
                "patch_size": 14,
                "hidden_act": "gelu",
                "projection_dim": sizes["embed"],
            },
            projection_dim=sizes["embed"],
        )

    def draw(self) -> None:
        from safetensors.torch import save_file
        from transformers import CLIPModel

        with torch.device("meta"):
            network = CLIPModel(self._config())
        state = drawn({name: value for name, value in network.state_dict().items() if not name.endswith("position_ids")})
        self.file.parent.mkdir(exist_ok=True)
        save_file(state, self.file, metadata={"format": "pt"})
        self._config().save_pretrained(self.file.parent)

    def load(self) -> None:
        from transformers import CLIPImageProcessor, CLIPModel, CLIPProcessor

        self.model = CLIPModel.from_pretrained(self.file.parent).eval().to(self.device)
        self.processor = CLIPProcessor(CLIPImageProcessor(), clip_tokenizer(self.folder / "clip-tokenizer"))

    def score(self, image: str, caption: str) -> float:
        images = {"pixel_values": self.pixels(image).unsqueeze(0).to(self.device)}
        texts = self.processor(text=caption, padding=True, truncation=True, max_length=77, return_tensors="pt").to(self.device)
        with torch.no_grad():
            embeddings = self.model.get_image_features(**images), self.model.get_text_features(**texts)
            first, second = (embedding / torch.norm(embedding, dim=-1, keepdim=True) for embedding in embeddings)
            return float(self.model.logit_scale.exp() * (second @ first.T)[0, 0])

    def pixels(self, image: str) -> Any:
        from PIL import Image

        return self.processor(images=Image.open(image), return_tensors="pt")["pixel_values"][0]


class _Inception(Loop):
    """clean-fid's features of an image; ``official_sets`` has the distances."""

    filenames: tuple[str, ...] = ("inception.pth",)

    def draw(self) -> None:
        import_module("sets").inception_weights(self.folder, [])

    def load(self) -> None:
        self.network = import_module("sets").clean_network(self.file).to(self.device)

    def score(self, image: str, caption: str) -> float:
        return float(self._features([image]).mean())

    def score_all(self, cases: Sequence[tuple[str, str]]) -> None:
        self._features([image for image, _ in cases])

    def _features(self, images: list[str]) -> Any:
        """In the package's own batches; its twelve workers, which take longer to start than a few images take, only for many."""
        from cleanfid import fid

        workers = 12 if len(images) > 200 else 0
        options = {"num_workers": workers, "device": torch.device(self.device), "mode": "clean", "verbose": False}
        return fid.get_files_features(images, self.network, **options)


def clip_tokenizer(folder: Path) -> Any:
    """transformers' CLIPTokenizerFast, which its AutoProcessor takes, on the merges that openai's clip ships."""
    from clip.simple_tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    openai = SimpleTokenizer()
    (folder / "vocab.json").write_text(json.dumps(openai.encoder))
    merges = "\n".join(" ".join(pair) for pair in openai.bpe_ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    return CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


LOOPS: dict[str, type[Loop]] = {
    "clip-t": _Clip,
    "clip-i": _ClipImage,
    "aes": _Aesthetic,
    "pickscore": _PickScore,
    "hpsv2": _HPSv2,
    "hpsv2 legacy": _HPSv2Legacy,
    "hpsv2 loaded": _HPSv2Loaded,
    "image-reward": _ImageReward,
    "inception": _Inception,
}
