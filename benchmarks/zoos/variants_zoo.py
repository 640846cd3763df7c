"""timm again: members whose blocks differ from those of the smallest one of their module."""

from __future__ import annotations

from benchmarks.zoos.timm_zoo import build

__all__ = ["build", "names"]

NAMES = (
    "gernet_s",
    "repvgg_a0",
    "mobileone_s0",
    "resnet51q",
    "botnet26t_256",
    "halonet26t",
    "lambda_resnet26t",
    "bat_resnext26ts",
    "gcresnet33ts",
    "eca_halonext26ts",
    "regnetz_b16",
    "haloregnetz_b",
    "cs3darknet_s",
    "coatnet_nano_rw_224",
    "coatnext_nano_rw_224",
    "maxxvit_rmlp_nano_rw_256",
    "coatnet_bn_0_rw_224",
    "ecaresnet26t",
    "seresnext26d_32x4d",
    "resnetrs50",
    "resnetblur50",
    "vit_relpos_small_patch16_224",
    "vit_small_patch16_rope_224",
    "efficientnet_cc_b0_4e",
    "mixnet_s",
    "tinynet_e",
    "caformer_s18",
    "convformer_s18",
    "resmlp_12_224",
    "skresnext50_32x4d",
    "ese_vovnet19b_dw",
    "nf_resnet26",
    "nfnet_l0",
    "levit_conv_128s",
    "efficientvit_m1",
    "swinv2_cr_tiny_ns_224",
    "mobilevitv2_050",
    "nest_tiny_jx",
    "eva02_tiny_patch14_224",
    "mobilenetv4_hybrid_medium",
)


def names() -> list[str]:
    """The models, in the order in which they are run."""
    return list(NAMES)
