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

SIGMAS = {"karras": "use_karras_sigmas", "exponential": "use_exponential_sigmas", "beta": "use_beta_sigmas"}
"""How noise levels are spaced, and the scheduler's setting for it."""

OTHERWISE = (("k ", ""), ("dpmpp ", "dpm++ "), ("ancestral", "a"), ("uni pc", "unipc"))
"""Other ways to write the same names."""


def meant_by(name: str) -> str:
    """What a web UI's name of a sampler is in diffusers: a class, and settings that its file would need; empty if unknown."""
    words = " ".join(name.lower().replace("_", " ").split())
    for way, usual in OTHERWISE:
        words = re.sub(rf"(^|(?<= )){way}", usual, words)
    sampler, _, last = words.rpartition(" ")
    if last not in SIGMAS:
        return NAMES.get(words, "")
    known = NAMES.get(sampler)
    return f"{known}{',' if ' with ' in known else ' with'} {SIGMAS[last]}: true" if known else ""
