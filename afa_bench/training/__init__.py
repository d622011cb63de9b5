"""Training what a method learns on a group's frozen models (the paper, sections 3.4 and 4.1).

A trainable (``trainable.py``) puts a learned part among the models; the loop (``loop.py``) minimises the denoising loss
(``loss.py``) over pairs (``pairs.py``) of latents and text states.
"""
