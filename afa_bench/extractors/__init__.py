"""Networks that give features of images and texts."""
