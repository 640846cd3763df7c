"""What channels respond to: their activations for given inputs, on one page."""

from graphprune.features.draw import FeatureConfig, draw_features
from graphprune.features.result import Features

__all__ = ["FeatureConfig", "Features", "draw_features"]
