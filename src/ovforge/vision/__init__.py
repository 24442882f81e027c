"""Looking at images with local vision models: features of exemplars, classifiers, and a judge of generated objects.

`inspect_vision_folder` says what a model folder is good for, `embed_exemplars` gives every exemplar a feature,
`make_classifier` turns features and texts into a detector's classifier, `check_exemplars` looks for exemplars that
do not fit. Models are folders of transformers on this machine; nothing is downloaded.
"""

from ovforge.vision.check import check_exemplars
from ovforge.vision.classifier import make_classifier
from ovforge.vision.embed import embed_exemplars
from ovforge.vision.model_folder import VisionFolder, inspect_vision_folder

__all__ = ["VisionFolder", "check_exemplars", "embed_exemplars", "inspect_vision_folder", "make_classifier"]
