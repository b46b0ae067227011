"""Networks that say something of every part of an image: detectors, segmenters, change."""
