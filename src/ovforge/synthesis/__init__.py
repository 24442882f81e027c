"""From a still picture to its second view: motion, composing, repainting, pairs, tracks."""
