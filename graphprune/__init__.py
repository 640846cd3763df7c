"""Structured pruning of any PyTorch model: groups found, channels weighed, tensors shrunk, proved.

The names below are the public API; everything else is internal. Where a function has the name of
its module (``graphprune.capture``), the function is what the package shows.
"""

from graphprune.budget import choose
from graphprune.capture import Captured, capture
from graphprune.certify import certify
from graphprune.channels import ChannelGroup
from graphprune.compress import compress
from graphprune.compressed import CompressConfig, Compressed
from graphprune.cutoff import cut_off
from graphprune.exporters.onnx import export_onnx
from graphprune.exporters.onnx_ops import onnx_translation
from graphprune.exporters.pt2 import load_pt2, save_pt2
from graphprune.finetune import FinetuneConfig, finetune
from graphprune.groups import Analysis, analyse
from graphprune.learn import LearnConfig, learn_switches
from graphprune.load import load
from graphprune.masked import MaskedReference
from graphprune.passes.insert_switches import InsertSwitches
from graphprune.passes.shrink import Shrink
from graphprune.plan import Plan
from graphprune.rules.user import OpCall, axes_rule, movement_rule, op_rule, pointwise_rule
from graphprune.scoring import score_channels
from graphprune.search import SearchConfig, search
from graphprune.switches.placement import switch_sites
from graphprune.target import AutoTarget, Target, parse_target
from graphprune.verify import verify

__all__ = [
    "Analysis",
    "AutoTarget",
    "Captured",
    "ChannelGroup",
    "CompressConfig",
    "Compressed",
    "FinetuneConfig",
    "InsertSwitches",
    "LearnConfig",
    "MaskedReference",
    "OpCall",
    "Plan",
    "SearchConfig",
    "Shrink",
    "Target",
    "analyse",
    "axes_rule",
    "capture",
    "certify",
    "choose",
    "compress",
    "cut_off",
    "export_onnx",
    "finetune",
    "learn_switches",
    "load",
    "load_pt2",
    "movement_rule",
    "onnx_translation",
    "op_rule",
    "parse_target",
    "pointwise_rule",
    "save_pt2",
    "score_channels",
    "search",
    "switch_sites",
    "verify",
]
