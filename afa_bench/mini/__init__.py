"""The mini zoo: small diffusion models, really trained, that ship with the package. How they were made is in ``recipe``."""

from afa_bench.paths import zoo

__all__ = ["zoo"]
