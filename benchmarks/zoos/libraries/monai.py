"""monai: its networks for medical pictures, in two and three dimensions, small."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks import nets
from monai.networks.nets.restormer import Restormer
from torch import nn

from benchmarks.zoos.libraries import Builder
from benchmarks.zoos.pictures import pictures

Options = dict[str, Any]
PICTURE, SCAN = (2, 1, 32, 32), (2, 1, 32, 32, 32)
IN_OUT: Options = {"in_channels": 1, "out_channels": 3}
STEPS: Options = {"channels": (8, 16, 24), "strides": (2, 2)}
AS_MANY: Options = {"channels": (8, 16), "strides": (2, 2)}
DIFFUSION: Options = {"in_channels": 1, "out_channels": 1, "channels": (16, 32)}
DIFFUSION |= {"attention_levels": (False, True), "num_res_blocks": 1, "norm_num_groups": 8}
LATENT: Options = {"channels": (16, 32), "attention_levels": (False, True), "norm_num_groups": 8}
LATENT |= {"num_res_blocks": 1, "latent_channels": 4}
ENCODED: Options = {"hidden_size": 32, "mlp_dim": 48, "num_heads": 4}
VIT: Options = {**ENCODED, "num_layers": 2, "patch_size": 8}


def _net(name: str, shape: tuple[int, ...], /, **options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return getattr(nets, name)(**options), pictures(*shape)

    return build


def _both(name: str, options: Options, *, side: int = 32) -> dict[str, Builder]:
    """The network for pictures and for scans."""
    return {
        f"{name.lower()}_{dims}d": _net(
            name, (2, 1, *[side] * dims), **(options | {"spatial_dims": dims})
        )
        for dims in (2, 3)
    }


def _timed(name: str, inputs: Options, /, **options: Any) -> Builder:
    """A diffusion network: noisy picture and time step, and whatever it is conditioned on."""

    def build() -> tuple[nn.Module, Any]:
        model = getattr(nets, name)(spatial_dims=2, **(DIFFUSION | options))
        args = (pictures(2, 1, 16, 16), torch.tensor([3, 70]))
        return model, (args, {key: make() for key, make in inputs.items()})

    return build


def _context() -> torch.Tensor:
    return torch.randn(2, 5, 12)


def _labels() -> torch.Tensor:
    return (
        torch.nn.functional.one_hot(torch.randint(0, 4, (2, 16, 16)), 4).permute(0, 3, 1, 2) * 1.0
    )


def _controlnet() -> tuple[nn.Module, Any]:
    options = {key: value for key, value in DIFFUSION.items() if key != "out_channels"}
    model = nets.ControlNet(
        spatial_dims=2,
        **options,
        num_head_channels=8,
        conditioning_embedding_in_channels=1,
        conditioning_embedding_num_channels=(8, 16),
    )
    return model, (pictures(2, 1, 16, 16), torch.tensor([3, 70]), pictures(2, 1, 32, 32))


def _spade(name: str, /, **options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = getattr(nets, name)(spatial_dims=2, label_nc=4, **options)
        args = (pictures(2, 1, 16, 16), _labels())
        return model, args if name != "SPADENet" else args[::-1]

    return build


def _tokens() -> tuple[nn.Module, Any]:
    model = nets.DecoderOnlyTransformer(
        num_tokens=32,
        max_seq_len=16,
        attn_layers_dim=32,
        attn_layers_depth=2,
        attn_layers_heads=4,
    )
    return model, torch.randint(0, 32, (4, 12))


def _slides() -> tuple[nn.Module, Any]:
    backbone = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    model = nets.MILModel(
        num_classes=2, mil_mode="att", backbone=backbone, backbone_num_features=16
    )
    return model, torch.randn(4, 5, 3, 24, 24)


def _generator() -> tuple[nn.Module, Any]:
    model = nets.Generator(
        latent_shape=(12,), start_shape=(16, 4, 4), channels=(16, 8, 1), strides=(2, 2, 1)
    )
    return model, torch.randn(4, 12)


def _voxelmorph() -> tuple[nn.Module, Any]:
    net = nets.VoxelMorphUNet(
        spatial_dims=2,
        in_channels=2,
        unet_out_channels=12,
        channels=(8, 12, 12, 12),
        final_conv_channels=(8,),
    )
    model = nets.VoxelMorph(backbone=net, integration_steps=2, spatial_dims=2)
    return model, (pictures(*PICTURE), pictures(*PICTURE))


def _fused_unet(**options: Any) -> Options:
    return {
        "kernel_size": (3, 3, 3),
        "strides": (1, 2, 2),
        "upsample_kernel_size": (2, 2),
        **options,
    }


def _restormer() -> tuple[nn.Module, Any]:
    model = Restormer(in_channels=1, out_channels=1, dim=16, heads=(1, 2, 2, 4))
    return model, pictures(*PICTURE)


MODELS: dict[str, Builder] = {
    **_both("UNet", IN_OUT | STEPS | {"num_res_units": 2}),
    "unet_batchnorm": _net("UNet", PICTURE, spatial_dims=2, **IN_OUT, **STEPS, norm="batch"),
    **_both("AttentionUnet", IN_OUT | STEPS),
    **_both("AutoEncoder", IN_OUT | AS_MANY | {"inter_channels": [16, 16]}),
    **_both("BasicUNet", IN_OUT | {"features": (8, 8, 12, 16, 24, 8)}),
    **_both("BasicUNetPlusPlus", IN_OUT | {"features": (8, 8, 12, 16, 24, 8)}),
    **_both("DenseNet", IN_OUT | {"init_features": 12, "growth_rate": 8, "block_config": (2, 2)}),
    **_both("DynUNet", IN_OUT | _fused_unet(filters=(8, 16, 24))),
    "dynunet_residual": _net(
        "DynUNet",
        PICTURE,
        spatial_dims=2,
        **IN_OUT,
        **_fused_unet(filters=(8, 16, 24), res_block=True, norm_name="batch"),
    ),
    **_both("SegResNet", IN_OUT | {"init_filters": 8, "blocks_down": (1, 2), "blocks_up": (1,)}),
    "segresnet_vae": _net(
        "SegResNetVAE",
        PICTURE,
        input_image_size=(32, 32),
        spatial_dims=2,
        **IN_OUT,
        init_filters=8,
        blocks_down=(1, 2),
        blocks_up=(1,),
        vae_nz=16,
    ),
    "segresnet_ds": _net(
        "SegResNetDS", PICTURE, spatial_dims=2, **IN_OUT, init_filters=8, blocks_down=(1, 2)
    ),
    "segresnet_ds2": _net(
        "SegResNetDS2", PICTURE, spatial_dims=2, **IN_OUT, init_filters=8, blocks_down=(1, 2)
    ),
    **_both("MedNeXt", IN_OUT | {"init_filters": 8, "kernel_size": 3}),
    "vnet": _net("VNet", (1, 1, 16, 16, 16), **IN_OUT),
    "vnet_2d": _net("VNet", PICTURE, spatial_dims=2, **IN_OUT),
    **_both("HighResNet", IN_OUT, side=16),
    "flexible_unet": _net(
        "FlexibleUNet",
        (2, 3, 64, 64),
        in_channels=3,
        out_channels=2,
        backbone="efficientnet-b0",
        decoder_channels=(32, 24, 16, 12, 8),
    ),
    "flexible_unet_resnet": _net(
        "FlexibleUNet",
        (2, 3, 64, 64),
        in_channels=3,
        out_channels=2,
        backbone="resnet18",
        decoder_channels=(32, 24, 16, 12, 8),
    ),
    "efficientnet": _net(
        "EfficientNetBN",
        (2, 3, 64, 64),
        model_name="efficientnet-b0",
        pretrained=False,
        num_classes=5,
    ),
    "senet": _net(
        "SENet",
        (2, 1, 48, 48),
        spatial_dims=2,
        in_channels=1,
        block="se_resnetxt_bottleneck",
        layers=(1, 1, 1, 1),
        groups=4,
        reduction=4,
        inplanes=16,
        num_classes=5,
    ),
    "resnet_3d": _net(
        "ResNet",
        SCAN,
        block="basic",
        layers=[1, 1, 1, 1],
        block_inplanes=[8, 12, 16, 24],
        n_input_channels=1,
        num_classes=5,
    ),
    "resnet_bottleneck_2d": _net(
        "ResNet",
        PICTURE,
        block="bottleneck",
        layers=[1, 1, 1, 1],
        block_inplanes=[8, 12, 16, 24],
        spatial_dims=2,
        n_input_channels=1,
        num_classes=5,
    ),
    "unetr": _net(
        "UNETR", PICTURE, **IN_OUT, img_size=32, feature_size=8, **ENCODED, spatial_dims=2
    ),
    "unetr_3d": _net("UNETR", SCAN, **IN_OUT, img_size=32, feature_size=8, **ENCODED),
    "swin_unetr": _net(
        "SwinUNETR",
        (1, 1, 64, 64),
        **IN_OUT,
        depths=(1, 1, 1, 1),
        num_heads=(2, 2, 4, 4),
        window_size=4,
        feature_size=12,
        spatial_dims=2,
    ),
    "swin_unetr_v2_3d": _net(
        "SwinUNETR",
        (2, 1, 64, 64, 64),
        **IN_OUT,
        depths=(1, 1, 1, 1),
        num_heads=(2, 2, 4, 4),
        window_size=4,
        feature_size=12,
        use_v2=True,
    ),
    "vit": _net(
        "ViT", PICTURE, in_channels=1, img_size=32, **VIT, spatial_dims=2, classification=True
    ),
    "vit_autoencoder": _net(
        "ViTAutoEnc",
        PICTURE,
        in_channels=1,
        img_size=32,
        **(VIT | {"patch_size": 4}),
        spatial_dims=2,
    ),
    "masked_autoencoder": _net(
        "MaskedAutoEncoderViT",
        PICTURE,
        in_channels=1,
        img_size=32,
        **VIT,
        spatial_dims=2,
        decoder_hidden_size=24,
        decoder_mlp_dim=48,
        decoder_num_layers=1,
        decoder_num_heads=4,
    ),
    "ahnet": _net("AHNet", (1, 1, 128, 128), spatial_dims=2, out_channels=2, layers=(1, 1, 1, 1)),
    "quicknat": _net("Quicknat", PICTURE, num_classes=5, num_channels=1, num_filters=16),
    "restormer": _restormer,
    "regunet": _net(
        "RegUNet", PICTURE, spatial_dims=2, in_channels=1, num_channel_initial=8, depth=2
    ),
    "localnet": _net(
        "LocalNet",
        PICTURE,
        spatial_dims=2,
        in_channels=1,
        num_channel_initial=8,
        extract_levels=(0, 1, 2),
    ),
    "globalnet": _net(
        "GlobalNet",
        PICTURE,
        image_size=[32, 32],
        spatial_dims=2,
        in_channels=1,
        num_channel_initial=8,
        depth=2,
    ),
    "voxelmorph": _voxelmorph,
    "regressor": _net("Regressor", PICTURE, in_shape=(1, 32, 32), out_shape=(2,), **STEPS),
    "classifier": _net(
        "Classifier", PICTURE, in_shape=(1, 32, 32), classes=3, **STEPS, norm="batch"
    ),
    "discriminator": _net("Discriminator", PICTURE, in_shape=(1, 32, 32), **STEPS),
    "critic": _net("Critic", PICTURE, in_shape=(1, 32, 32), **STEPS),
    "generator": _generator,
    "patch_discriminator": _net(
        "PatchDiscriminator", PICTURE, spatial_dims=2, channels=8, in_channels=1, num_layers_d=2
    ),
    "fully_connected": _net(
        "FullyConnectedNet", (8, 12), in_channels=12, out_channels=3, hidden_channels=(24, 16)
    ),
    "autoencoder_variational": _net(
        "VarAutoEncoder",
        PICTURE,
        spatial_dims=2,
        in_shape=(1, 32, 32),
        out_channels=1,
        latent_size=8,
        **AS_MANY,
        use_sigmoid=False,
    ),
    "autoencoder_kl": _net("AutoencoderKL", PICTURE, spatial_dims=2, **LATENT),
    "spade_autoencoder_kl": _spade("SPADEAutoencoderKL", **LATENT, spade_intermediate_channels=16),
    "spade_net": _spade(
        "SPADENet",
        **IN_OUT,
        input_shape=[16, 16],
        channels=[16, 24],
        z_dim=8,
        spade_intermediate_channels=16,
    ),
    "vqvae": _net(
        "VQVAE",
        PICTURE,
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=(16, 24),
        num_res_layers=1,
        num_res_channels=(16, 24),
        downsample_parameters=((2, 4, 1, 1),) * 2,
        upsample_parameters=((2, 4, 1, 1, 0),) * 2,
        num_embeddings=16,
        embedding_dim=8,
    ),
    "diffusion_unet": _timed("DiffusionModelUNet", {}, num_head_channels=8),
    "diffusion_unet_conditioned": _timed(
        "DiffusionModelUNet",
        {"context": _context},
        num_head_channels=8,
        with_conditioning=True,
        cross_attention_dim=12,
    ),
    "spade_diffusion_unet": _timed(
        "SPADEDiffusionModelUNet",
        {"seg": _labels},
        num_head_channels=8,
        label_nc=4,
        spade_intermediate_channels=16,
    ),
    "controlnet": _controlnet,
    "decoder_transformer": _tokens,
    "multiple_instances": _slides,
}
