"""Structured pruning of any PyTorch model: groups found, channels weighed, tensors shrunk, proved.

The names below are the public API; everything else is internal. ``graphprune.compress`` is the
function, not its module.
"""

from graphprune.analysis.channels import ChannelGroup
from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.choosing.budget import choose
from graphprune.choosing.cutoff import cut_off
from graphprune.choosing.plan import Plan
from graphprune.choosing.target import AutoTarget, Target, parse_target
from graphprune.compress import compress
from graphprune.compressed import CompressConfig, Compressed
from graphprune.delivery.load import load
from graphprune.delivery.verify import verify
from graphprune.exporters.onnx import export_onnx
from graphprune.exporters.onnx_ops import onnx_translation
from graphprune.exporters.pt2 import load_pt2, save_pt2
from graphprune.importance.learn import learn_switches
from graphprune.importance.learn_config import LearnConfig
from graphprune.importance.scoring import score_channels
from graphprune.passes.insert_switches import InsertSwitches
from graphprune.passes.shrink import Shrink
from graphprune.proof.certify import certify
from graphprune.proof.masked import MaskedReference
from graphprune.rules.user import OpCall, axes_rule, movement_rule, op_rule, pointwise_rule
from graphprune.searching.search import SearchConfig, search
from graphprune.switches.placement import switch_sites
from graphprune.training.finetune import FinetuneConfig, finetune

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
