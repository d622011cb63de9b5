"""Schedulers' settings as the repositories of published models have them."""

from __future__ import annotations

from typing import Any

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
USUAL = {
    **BETAS,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "skip_prk_steps": True,
    "trained_betas": None,
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "SD 1.5": {"_class_name": "PNDMScheduler", **USUAL},
    "SD 2.1": {"_class_name": "DDIMScheduler", **USUAL, "prediction_type": "v_prediction"},
    "SDXL": {
        "_class_name": "EulerDiscreteScheduler", **USUAL, "interpolation_type": "linear", "prediction_type": "epsilon",
        "sample_max_value": 1.0, "timestep_spacing": "leading", "use_karras_sigmas": False,
    },
    "zero SNR": {
        "_class_name": "EulerDiscreteScheduler", **USUAL, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
        "timestep_spacing": "leading",
    },
    "zero SNR, trailing": {
        "_class_name": "DDIMScheduler", **USUAL, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
}  # fmt: skip
"""Schedulers' settings as the models' own repositories have them."""

FLOWS = {
    "SD 3.5": {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0},
    "FLUX": {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "base_image_seq_len": 256, "base_shift": 0.5, "max_image_seq_len": 4096,
        "max_shift": 1.15, "num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": True,
    },
}  # fmt: skip
