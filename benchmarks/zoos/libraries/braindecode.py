"""braindecode: decoding of brain signals, small; each with 8 electrodes and 3 classes."""

from __future__ import annotations

from typing import Any

import torch
from braindecode import models
from torch import nn

from benchmarks.zoos.libraries import Builder


def _signal(
    cls: str, *, times: int = 512, rate: float = 128, chans: int = 8, **more: Any
) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        shape = {"n_chans": chans, "n_outputs": 3, "n_times": times, "sfreq": rate}
        return getattr(models, cls)(**shape, **more), torch.randn(2, chans, times)

    return build


MODELS: dict[str, Builder] = {
    "atcnet": _signal("ATCNet", times=1000, rate=250),
    "attention_base": _signal("AttentionBaseNet", times=1000, rate=250),
    "attn_sleep": _signal("AttnSleep", times=3000, rate=100, chans=1),
    "bdtcn": _signal("BDTCN", n_blocks=2, n_filters=16, kernel_size=5),
    "biot": _signal("BIOT", times=800, rate=200, embed_dim=32, num_heads=4, num_layers=2),
    "cbramod": _signal("CBraMod", times=800, rate=200, n_layer=2, dim_feedforward=64),
    "contrawr": _signal("ContraWR", times=1024),
    "ctnet": _signal("CTNet", times=1000, rate=250),
    "deep4": _signal("Deep4Net", times=1000, rate=250),
    "deep_sleep": _signal("DeepSleepNet", times=3000, rate=100, chans=1),
    "eeg_conformer": _signal("EEGConformer", times=1000, rate=250, num_layers=2),
    "eeg_inception_erp": _signal("EEGInceptionERP"),
    "eeg_inception_mi": _signal("EEGInceptionMI", times=500, rate=125),
    "eeg_itnet": _signal("EEGITNet", times=500, rate=125),
    "eeg_miner": _signal("EEGMiner"),
    "eeg_net": _signal("EEGNet"),
    "eeg_nex": _signal("EEGNeX"),
    "eeg_simple_conv": _signal("EEGSimpleConv"),
    "eeg_tcnet": _signal("EEGTCNet"),
    "fbcnet": _signal("FBCNet", times=1000, rate=250),
    "fblight": _signal("FBLightConvNet", times=1000, rate=250),
    "fbmsnet": _signal("FBMSNet", times=1000, rate=250),
    "hybrid": _signal("HybridNet", times=1000, rate=250),
    "ifnet": _signal("IFNet", times=1000, rate=250),
    "luna": _signal("LUNA", times=800, rate=200),
    "medformer": _signal("MEDFormer", num_layers=2, embed_dim=32),
    "msvtnet": _signal("MSVTNet", times=1000, rate=250),
    "pbt": _signal("PBT"),
    "sccnet": _signal("SCCNet", times=500, rate=125),
    "shallow_fbcsp": _signal("ShallowFBCSPNet", times=1000, rate=250),
    "sinc_shallow": _signal("SincShallowNet", times=1000, rate=250),
    "sleep_blanco": _signal("SleepStagerBlanco2020", times=3000, rate=100, chans=2),
    "sleep_chambon": _signal("SleepStagerChambon2018", times=3000, rate=100, chans=2),
    "sparcnet": _signal("SPARCNet", times=1000, rate=200),
    "sstdpn": _signal("SSTDPN", times=1000, rate=250),
    "syncnet": _signal("SyncNet"),
    "tidnet": _signal("TIDNet"),
    "ts_inception": _signal("TSception", times=1000, rate=250),
    "usleep": _signal("USleep", times=3000, rate=128, chans=2, depth=3),
}
