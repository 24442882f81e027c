"""A judge of every object in every second view: is it still what its label says?

`measures` compares pixels, `models` asks a vision model and a detector, `score` does both for all pairs of a run,
`rejection` says which objects are bad by rules over the scores.
"""

from ovforge.synthesis.judge.score import read_scores, score_pairs, scores_path

__all__ = ["read_scores", "score_pairs", "scores_path"]
