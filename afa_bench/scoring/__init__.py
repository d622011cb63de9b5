"""Images to features to numbers: one pass over the images, whatever the metrics."""
