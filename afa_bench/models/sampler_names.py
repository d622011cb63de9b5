"""What web UIs call their samplers, and what diffusers calls them."""

from __future__ import annotations

import re

NAMES = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "deis": "DEISMultistepScheduler",
    "dpm2": "KDPM2DiscreteScheduler",
    "dpm2 a": "KDPM2AncestralDiscreteScheduler",
    "dpm++ 2m": "DPMSolverMultistepScheduler",
    "dpm++ 2m sde": "DPMSolverMultistepScheduler with algorithm_type: sde-dpmsolver++",
    "dpm++ 3m sde": "DPMSolverMultistepScheduler with algorithm_type: sde-dpmsolver++, solver_order: 3",
    "dpm++ 2s": "DPMSolverSinglestepScheduler",
    "dpm++ sde": "DPMSolverSDEScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler a": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "lcm": "LCMScheduler",
    "lms": "LMSDiscreteScheduler",
    "plms": "PNDMScheduler",
    "pndm": "PNDMScheduler",
    "tcd": "TCDScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""A sampler's name in small letters, without what follows it, and its class and settings."""

SIGMAS = ("karras", "exponential", "beta")
"""How noise levels are spaced: what such a name may end with."""

OTHERWISE = (("k ", ""), ("dpmpp ", "dpm++ "), ("ancestral", "a"), ("uni pc", "unipc"))
"""Other ways to write the same names."""


def meant_by(name: str) -> str:
    """How a web UI's name of a sampler is written in a suite; empty if unknown."""
    words = " ".join(name.lower().replace("_", " ").split())
    for way, usual in OTHERWISE:
        words = re.sub(rf"(^|(?<= )){way}", usual, words)
    sampler, _, last = words.rpartition(" ")
    spaced = last in SIGMAS
    kind, _, settings = NAMES.get(sampler if spaced else words, "").partition(" with ")
    if not kind:
        return ""
    beside = f" and sigmas: {last} beside it" if spaced else ""
    return f"{kind!r}{beside}{f', with {settings} in the scheduler_config.json of the pipeline' if settings else ''}"
