"""Graph rewrites, one a file. They are found through the registry, by name, not imported here."""

from torch.fx.passes.infra.pass_base import PassBase, PassResult

from graphprune.passes.base import GraphPass, make_pass, pass_name, run_passes

__all__ = ["GraphPass", "PassBase", "PassResult", "make_pass", "pass_name", "run_passes"]
