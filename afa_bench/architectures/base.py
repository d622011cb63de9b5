"""What an architecture is: all in which one family of models differs from another, as one object. Imports no torch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from afa_bench import registry
from afa_bench.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from afa_bench.architectures.layout import Layout, Part
    from afa_bench.architectures.objective import Objective


class Architecture:
    """Base class of an architecture plug-in (entry-point group ``afa_bench.architectures``); made without arguments.

    What it does by itself is what a denoiser with one CLIP text encoder takes, in the latents of an ``AutoencoderKL``. A plug-in
    says what its pipelines consist of and overrides what is different; one with U-Nets derives from ``UNetArchitecture``. Whoever
    lists groups imports its file, so that torch is imported in its methods alone.

    Attributes:
        name: as in a group's file.
        title: as in messages.
        version: raised whenever what its methods compute changes.
        pipeline: the stock pipeline's class; it is called with what :meth:`conditions` gives, ``latents``, ``generator`` (one a
            sample), ``num_inference_steps``, ``guidance_scale``, ``height``, ``width``, ``output_type="pt"`` and
            ``callback_on_step_end``.
        pipeline_options: further arguments that it is made with.
        denoiser: the part that fine-tuned models differ in, and its class.
        encoders, tokenizers: part -> class, in the pipeline's order; every model may have encoders of its own.
        vae, scheduler: their classes.
        flow: whether its models are trained by flow matching, and need a scheduler for it.
        classifier_free: whether guidance above 1 runs the denoiser on an unconditional half of the batch too; else the denoiser
            is told the scale.
        rate: evaluations of the denoiser a second on one GPU at 512 x 512 pixels, where it was measured.
        pads: padding tokens of tokenizers, where they are others than CLIP's own.
        detected: whether a checkpoint may be found to be of it; else it is so only where a group's file or a recipe says it, as
            for a variant of another architecture.
        marks: begin the names of tensors by which its checkpoints are recognised: single files, and the denoisers in folders.
        text_prefix: begins the names of the text encoders' tensors in a single file.
        layout: a ``Layout``, the names of the tensors of a whole checkpoint, for merging; None: its checkpoints cannot be merged.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[int] = 1
    pipeline: ClassVar[str]
    pipeline_options: ClassVar[Mapping[str, Any]] = {}
    denoiser: ClassVar[tuple[str, str]] = ("unet", "UNet2DConditionModel")
    encoders: ClassVar[Mapping[str, str]] = {"text_encoder": "CLIPTextModel"}
    tokenizers: ClassVar[Mapping[str, str]] = {"tokenizer": "CLIPTokenizer"}
    vae: ClassVar[str] = "AutoencoderKL"
    scheduler: ClassVar[str] = "DDIMScheduler"
    flow: ClassVar[bool] = False
    classifier_free: ClassVar[bool] = True
    rate: ClassVar[float | None] = None
    pads: ClassVar[Mapping[str, str]] = {}
    detected: ClassVar[bool] = True
    marks: ClassVar[tuple[str, ...]] = ()
    text_prefix: ClassVar[str] = "cond_stage_model."
    layout: ClassVar[Any] = None

    def identity(self) -> dict[str, Any]:
        """What a group's identity holds of it. Empty for the first version of this package's own, as before they had one."""
        about = {"name": self.name, "version": self.version, **registry.origin(type(self))}
        return {} if about == {"name": self.name, "version": 0} else {"architecture": about}

    # What it consists of

    def class_of(self, name: str) -> Any:
        """The class of this name, of diffusers or transformers; a plug-in with classes of its own overrides it.

        Raises:
            UserError: there is none.
        """
        import diffusers
        import transformers

        for library in (diffusers, transformers):
            if hasattr(library, name):
                return getattr(library, name)
        versions = f"diffusers {diffusers.__version__} and transformers {transformers.__version__}"
        raise UserError(f"architecture {self.name}: {name}: no such class in {versions}")

    @property
    def configs(self) -> Path:
        """The folder of configurations for single files, in the diffusers layout: ``configs/NAME`` beside its file."""
        return Path(inspect.getfile(type(self))).parent / "configs" / self.name

    @property
    def in_pieces(self) -> bool:
        """Whether long texts can be read in pieces: by CLIP alone, which is made for short ones."""
        return set(self.tokenizers.values()) == {"CLIPTokenizer"}

    def fits(self, scheduler: str) -> bool:
        """Whether a scheduler of diffusers can sample these models."""
        return ("FlowMatch" in scheduler) == self.flow

    def recognises(self, names: Sequence[str]) -> bool:
        """Whether a checkpoint with tensors of these names is one of its own; see ``marks``."""
        return bool(self.marks) and any(name.startswith(self.marks) for name in names)

    def mistaken(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        """What a checkpoint with its tensors' names, but with such shapes, is instead; empty for one of its own."""
        return ""

    def read_file(self, path: Path, configs: Path, dtype: torch.dtype, shared: Mapping[str, Any]) -> Mapping[str, Any]:
        """A single file's denoiser and, where it has them, its text encoders, by part.

        Args:
            path: of the file.
            configs: a folder of configurations in the diffusers layout.
            dtype: to load in.
            shared: the pipeline's other parts, by name; its text encoders serve a file without its own.
        """
        from diffusers.loaders.single_file import load_single_file_sub_model

        from afa_bench.architectures.names import read_state

        state, (part, kind) = read_state(path), self.denoiser
        own = any(name.startswith(self.text_prefix) for name in state)
        classes = {name: self.class_of(kind) for name, kind in {part: kind, **(self.encoders if own else {})}.items()}
        settings: dict[str, Any] = {"local_files_only": True, "torch_dtype": dtype}
        return {
            name: load_single_file_sub_model(
                *(kind.__module__.partition(".")[0], kind.__name__, name, dict(state), None, False, str(configs)), **settings
            )
            for name, kind in classes.items()
        }

    def read_vae(self, path: Path, configs: Path, dtype: torch.dtype) -> Any:
        """A single file's VAE; arguments as :meth:`read_file`'s."""
        return self.read_part(path, "vae", self.vae, configs, dtype)

    def read_part(self, path: Path, part: str, kind: str, configs: Path, dtype: torch.dtype) -> Any:
        """One part of a single file by its class, which has ``from_single_file``; other arguments as :meth:`read_file`'s."""
        from afa_bench.architectures.names import read_state

        read = self.class_of(kind).from_single_file
        return read(read_state(path), config=str(configs), subfolder=part, local_files_only=True, torch_dtype=dtype)

    # What the denoiser is told

    def encode(self, texts: Sequence[str], tokenizers: Sequence[Any], encoders: Sequence[nn.Module]) -> dict[str, Tensor]:
        """What the stock pipeline takes in place of prompts, by one model's text encoders, a row a text.

        ``prompt_embeds`` ``(B, L, D)``: here the last hidden states, without clip skip.
        """
        from afa_bench.architectures.text import tokens

        return {"prompt_embeds": encoders[0](tokens(texts, tokenizers[0], encoders[0]))[0]}

    def conditions(
        self,
        texts: Sequence[str],
        tokenizers: Sequence[Any],
        encoders: Sequence[nn.Module],
        negative: str = "",
        guided: bool = False,
    ) -> dict[str, Tensor]:
        """What the stock pipeline takes in place of prompts: :meth:`encode` of N models' text encoders, side by side.

        Args:
            texts: a prompt a row; padded and cut to the tokenizers' lengths.
            tokenizers: of the pipeline.
            encoders: of N models, each as :func:`afa_bench.architectures.text.together` gives them; equal ones run once.
            negative: the text of the unconditional half.
            guided: with classifier-free guidance, if the architecture has it.

        Returns:
            ``prompt_embeds`` ``(B, L, N * D)`` and what else :meth:`encode` gives; if guided, each with its negative.
        """
        from afa_bench.architectures.text import side_by_side

        found = side_by_side(encoders, lambda own: self.encode(texts, tokenizers, own))
        if guided and self.classifier_free:
            free = self.unconditional(tokenizers, encoders, negative)
            found |= {f"negative_{name}": value.expand(len(texts), *value.shape[1:]) for name, value in free.items()}
        return found

    def unconditional(self, tokenizers: Sequence[Any], encoders: Sequence[nn.Module], negative: str = "") -> dict[str, Tensor]:
        """One row for the unconditional half, and for the text that is dropped in training: here what the negative text gives."""
        return self.conditions([negative], tokenizers, encoders)

    def size_conditions(self, image: tuple[int, int], corner: tuple[int, int], crop: tuple[int, int]) -> dict[str, list[float]]:
        """What the denoiser is told about a real image beside its text, if anything.

        Args:
            image: its height and width in pixels.
            corner: the top and left of the part that it sees, after the image was resized.
            crop: this part's height and width.
        """
        return {}

    # Latents

    def multiple(self, vae: Any) -> int:
        """The number of pixels that an image's height and width must be multiples of."""
        return int(2 ** (len(vae.config.block_out_channels) - 1))

    def require_size(self, vae: Any, size: int) -> None:
        """Raise a UserError for images of a size that has no latents of its own."""
        if size % self.multiple(vae):
            raise UserError(f"size: {size}; expected a multiple of {self.multiple(vae)} pixels for {self.title}")

    def latent_shape(self, vae: Any, denoiser: Any, height: int, width: int) -> tuple[int, int, int]:
        """``(C, H, W)`` of the latents of an image of ``height`` x ``width`` pixels: of its noise, before it is packed."""
        return denoiser.config.in_channels, height // self.multiple(vae), width // self.multiple(vae)

    def packed(self, latents: Tensor) -> Tensor:
        """Latents ``(B, C, H, W)`` as the pipeline and the denoiser take them."""
        return latents

    def latents(self, vae: Any, pixels: Tensor) -> Tensor:
        """Images ``(B, 3, H, W)`` in [-1, 1] as latents: the means of the VAE's posterior, shifted and scaled."""
        means: Tensor = vae.encode(pixels).latent_dist.mode()
        shift = vae.config.get("shift_factor")
        return (means - shift if shift else means) * vae.config.scaling_factor  # type: ignore[no-any-return]

    def objective(self, scheduler: Any, denoiser: Any, guidance: float | None = None) -> Objective:
        """How latents are noised, what is predicted of them, and the denoiser's call.

        Args:
            scheduler: the group's own, whatever images are sampled with: its noise schedule and what the models predict.
            denoiser: a model or an ensemble.
            guidance: the scale that a model which was distilled for guidance is told; by default the architecture's usual one.

        Raises:
            UserError: a prediction type that is not supported.
        """
        from afa_bench.architectures.objective import Diffusion

        return Diffusion(scheduler)

    # Blocks and tensors

    def view(self, denoiser: nn.Module) -> Any:
        """A denoiser as its blocks, such as a ``BlockView`` or a ``FluxView``.

        Raises:
            UserError: it, or a part of it, cannot be seen as blocks; the message names it.
        """
        raise UserError(f"{self.title}: this architecture does not say what the blocks of its {self.denoiser[1]} are")

    def require_layout(self, where: str) -> Layout:
        """The layout of its checkpoints.

        Raises:
            UserError: it has none; the message begins with ``where``.
        """
        if self.layout is None:
            raise UserError(f"{where}: models of {self.title} cannot be merged: this architecture has no merge layout")
        return self.layout  # type: ignore[no-any-return]

    def shapes(self, part: Part, config: Mapping[str, Any]) -> Mapping[str, tuple[int, ...]] | None:
        """The tensors that a part has by its configuration: diffusers' names and their shapes, position ids aside.

        None: whoever asks builds the part of its class, without memory, to see.
        """
        return None

    def layout_in_memory(self, denoiser: Any) -> Layout | None:
        """The layout of a loaded model, whose depth may be another than the checkpoints'; None: its blocks have no numbers.

        Raises:
            UserError: a model of which this cannot be said.
        """
        return self.layout  # type: ignore[no-any-return]
