"""From a still image to its second view: motion, composing, repainting, pairs, tracks."""
