"""Vision: heads that detect, compare, read and align."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.zoos.pictures import pictures


def conv_bn(cin: int, cout: int, k: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(cin, cout, k, stride, k // 2, bias=False),
        nn.BatchNorm2d(cout),
        nn.LeakyReLU(0.1, inplace=True),
    )


class Detect(nn.Module):
    """The head of ultralytics/yolov5 at inference: grids and anchors, all scales in one tensor."""

    stride: torch.Tensor

    def __init__(self, nc: int, anchors: list[list[int]], ch: list[int]) -> None:
        super().__init__()
        self.nc, self.no, self.nl, self.na = nc, nc + 5, len(anchors), len(anchors[0]) // 2
        self.grid = [torch.empty(0) for _ in range(self.nl)]
        self.anchor_grid = [torch.empty(0) for _ in range(self.nl)]
        self.register_buffer("anchors", torch.tensor(anchors).float().view(self.nl, -1, 2))
        self.register_buffer("stride", torch.tensor([4.0, 8.0]))
        self.m = nn.ModuleList(nn.Conv2d(x, self.no * self.na, 1) for x in ch)

    def forward(self, x: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        z = []
        for i in range(self.nl):
            x[i] = self.m[i](x[i])
            bs, _, ny, nx = x[i].shape
            x[i] = x[i].view(bs, self.na, self.no, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
            if self.grid[i].shape[2:4] != x[i].shape[2:4]:
                self.grid[i], self.anchor_grid[i] = self._make_grid(nx, ny, i)
            xy, wh, conf = x[i].sigmoid().split((2, 2, self.nc + 1), 4)
            xy = (xy * 2 + self.grid[i]) * self.stride[i]
            wh = (wh * 2) ** 2 * self.anchor_grid[i]
            z.append(torch.cat((xy, wh, conf), 4).view(bs, self.na * nx * ny, self.no))
        return torch.cat(z, 1), x

    def _make_grid(self, nx: int, ny: int, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        shape = 1, self.na, ny, nx, 2
        yv, xv = torch.meshgrid(torch.arange(ny), torch.arange(nx), indexing="ij")
        grid = torch.stack((xv, yv), 2).expand(shape) - 0.5
        anchor = (self.anchors[i] * self.stride[i]).view((1, self.na, 1, 1, 2)).expand(shape)
        return grid, anchor


class Yolo(nn.Module):
    """A path aggregation neck of two scales, SPPF, and the head above."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.c3 = conv_bn(3, 16, 3, 2), conv_bn(16, 32, 3, 2)
        self.c4 = conv_bn(32, 64, 3, 2)
        self.sppf_in, self.sppf_out = conv_bn(64, 32, 1), conv_bn(128, 64, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.up, self.lateral = nn.Upsample(None, 2, "nearest"), conv_bn(64, 32, 1)
        self.out3, self.down = conv_bn(64, 32), conv_bn(32, 32, 3, 2)
        self.out4 = conv_bn(64, 64)
        self.detect = Detect(4, [[10, 13, 16, 30], [30, 61, 62, 45]], [32, 64])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        c3 = self.c3(self.stem(x))
        c4 = self.sppf_in(self.c4(c3))
        y1 = self.pool(c4)
        y2 = self.pool(y1)
        c4 = self.lateral(self.sppf_out(torch.cat((c4, y1, y2, self.pool(y2)), 1)))
        p3 = self.out3(torch.cat([self.up(c4), c3], 1))
        p4 = self.out4(torch.cat([self.down(p3), c4], 1))
        return self.detect([p3, p4])


class CenterNet(nn.Module):
    """Deconvolutions, a head for each name in a dict, and the best places of the heat map."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Sequential(conv_bn(3, 32, 3, 2), conv_bn(32, 64, 3, 2), conv_bn(64, 64))
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(64, 48, 4, 2, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU(True)
        )
        self.heads = {"hm": 3, "wh": 2, "reg": 2}
        for head, classes in self.heads.items():
            layers = nn.Conv2d(48, 32, 3, padding=1), nn.ReLU(True), nn.Conv2d(32, classes, 1)
            setattr(self, head, nn.Sequential(*layers))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.deconv(self.base(x))
        ret = {head: getattr(self, head)(x) for head in self.heads}
        heat = ret["hm"].sigmoid_()
        keep = (F.max_pool2d(heat, 3, stride=1, padding=1) == heat).float()
        b, c = heat.size()[:2]
        scores, inds = torch.topk((heat * keep).view(b, c, -1), 5)
        wh = ret["wh"].permute(0, 2, 3, 1).contiguous().view(b, -1, 2)
        ind = inds.view(b, -1).unsqueeze(2).expand(b, c * 5, 2)
        return {**ret, "scores": scores, "boxes": wh.gather(1, ind)}


class CRNN(nn.Module):
    """As in meijieru/crnn.pytorch: columns of the features are the steps of an LSTM."""

    def __init__(self, nh: int = 48) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 24, 3, 1, 1), nn.ReLU(True), nn.MaxPool2d(2, 2),
            nn.Conv2d(24, 48, 3, 1, 1), nn.BatchNorm2d(48), nn.ReLU(True),
            nn.MaxPool2d((2, 2), (2, 1), (0, 1)), nn.Conv2d(48, 64, 4, 1, 0), nn.ReLU(True),
        )  # fmt: skip
        self.rnn1, self.embed1 = nn.LSTM(64, nh, bidirectional=True), nn.Linear(nh * 2, nh)
        self.rnn2, self.embed2 = nn.LSTM(nh, nh, bidirectional=True), nn.Linear(nh * 2, 11)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv = self.cnn(x)
        _, _, h, _ = conv.size()
        assert h == 1, "the height of conv must be 1"
        conv = conv.squeeze(2).permute(2, 0, 1)
        for rnn, embed in ((self.rnn1, self.embed1), (self.rnn2, self.embed2)):
            recurrent, _ = rnn(conv)
            t, b, width = recurrent.size()
            conv = embed(recurrent.view(t * b, width)).view(t, b, -1)
        return F.log_softmax(conv, dim=2)


Triplet = namedtuple("Triplet", ["anchor", "positive", "distance"])


class Siamese(nn.Module):
    """One encoder for two images; embeddings of length one."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv_bn(3, 32, 3, 2), conv_bn(32, 64, 3, 2))
        self.fc = nn.Sequential(nn.Linear(64 * 16, 64), nn.PReLU(64), nn.Linear(64, 32))
        self.inner = nn.Linear(32, 48)
        self.last = nn.Linear(48, 16)

    def forward_one(self, x: torch.Tensor) -> torch.Tensor:
        x = self.encoder(x)
        x = self.fc(x.view(x.size()[0], -1))
        x = self.inner(F.normalize(x, p=2, dim=1))
        return F.normalize(self.last(x / x.norm(2, dim=1, keepdim=True).clamp(min=1e-6)))

    def forward(self, anchor: torch.Tensor, positive: torch.Tensor) -> Triplet:
        a, p = self.forward_one(anchor), self.forward_one(positive)
        return Triplet(a, p, F.pairwise_distance(a, p))


class Prototypical(nn.Module):
    """Squared distances of queries from class prototypes kept as a parameter."""

    def __init__(self, classes: int = 5, width: int = 48) -> None:
        super().__init__()
        blocks = [nn.Sequential(conv_bn(c, 32), nn.MaxPool2d(2)) for c in (3, 32, 32)]
        self.encoder = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(32 * 4, width))
        self.prototypes = nn.Parameter(torch.randn(classes, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.encoder(x)
        n, m = z.size(0), self.prototypes.size(0)
        a = z.unsqueeze(1).expand(n, m, -1)
        b = self.prototypes.unsqueeze(0).expand(n, m, -1)
        return -torch.pow(a - b, 2).sum(2)


class Capsules(nn.Module):
    """Dynamic routing between capsules, as in gram-ai/capsule-networks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 5)
        self.primary = nn.ModuleList(nn.Conv2d(32, 8, 5, stride=2) for _ in range(8))
        self.route_weights = nn.Parameter(torch.randn(4, 8 * 16, 8, 8) * 0.1)
        self.decoder = nn.Sequential(nn.Linear(32, 64), nn.ReLU(True), nn.Linear(64, 20))

    @staticmethod
    def squash(t: torch.Tensor, dim: int = -1) -> torch.Tensor:
        norm = (t**2).sum(dim=dim, keepdim=True)
        return norm / (1 + norm) * t / torch.sqrt(norm)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = F.relu(self.conv1(x), inplace=True)
        outputs = [capsule(x).view(x.size(0), -1, 1) for capsule in self.primary]
        x = self.squash(torch.cat(outputs, dim=-1))
        priors = x[None, :, :, None, :] @ self.route_weights[:, None, :, :, :]
        logits = torch.zeros(*priors.size(), device=x.device)
        for i in range(3):
            probs = F.softmax(logits, dim=2)
            out = self.squash((probs * priors).sum(dim=2, keepdim=True))
            if i != 2:
                logits = logits + (priors * out).sum(dim=-1, keepdim=True)
        x = out.squeeze(2).squeeze(2).transpose(0, 1)
        classes = F.softmax((x**2).sum(dim=-1) ** 0.5, dim=-1)
        return classes, self.decoder((x * classes[:, :, None]).reshape(x.size(0), -1))


class SpatialTransformer(nn.Module):
    """The tutorial's network: it turns its own input before it looks."""

    def __init__(self) -> None:
        super().__init__()
        self.localization = nn.Sequential(
            nn.Conv2d(3, 16, 5), nn.MaxPool2d(2, stride=2), nn.ReLU(True), nn.Conv2d(16, 20, 3)
        )
        self.fc_loc = nn.Sequential(nn.Linear(20 * 4 * 4, 32), nn.ReLU(True), nn.Linear(32, 6))
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 48, 3)
        self.offset = nn.Conv2d(32, 2, 3, padding=1)
        self.drop, self.fc = nn.Dropout2d(), nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        theta = self.fc_loc(self.localization(x).view(-1, 20 * 4 * 4)).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(x.size()), align_corners=False)
        x = F.relu(self.conv1(F.grid_sample(x, grid, align_corners=False)))
        n, _, h, w = x.shape
        ys, xs = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        base = torch.stack((xs, ys), -1).unsqueeze(0).repeat(n, 1, 1, 1)
        flow = base + 0.1 * self.offset(x).permute(0, 2, 3, 1)
        x = F.grid_sample(x, flow, mode="bilinear", padding_mode="border", align_corners=True)
        x = self.drop(F.relu(self.conv2(x)))
        return F.log_softmax(self.fc(x.amax((2, 3))), dim=1)


class Correlation(nn.Module):
    """All pairs of two feature maps, as in princeton-vl/RAFT, and a window of shifts, as in PWC."""

    def __init__(self) -> None:
        super().__init__()
        self.fnet = nn.Sequential(conv_bn(3, 32, 3, 2), conv_bn(32, 48, 3, 2), nn.Conv2d(48, 64, 1))
        self.motion = nn.Sequential(nn.Conv2d(9 + 64, 48, 3, padding=1), nn.ReLU())
        self.flow = nn.Conv2d(48, 2, 3, padding=1)

    def forward(self, one: torch.Tensor, two: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        f1, f2 = torch.split(self.fnet(torch.cat([one, two], dim=0)), [one.shape[0]] * 2, dim=0)
        b, d, h, w = f1.shape
        corr = torch.matmul(f1.view(b, d, h * w).transpose(1, 2), f2.view(b, d, h * w))
        corr = corr.view(b, h, w, 1, h, w) / torch.sqrt(torch.tensor(d).float())
        padded, cost = F.pad(f2, (1, 1, 1, 1)), []
        for dy in range(3):
            for dx in range(3):
                shifted = padded[:, :, dy : dy + h, dx : dx + w]
                cost.append((f1 * shifted).mean(dim=1, keepdim=True))
        return self.flow(self.motion(torch.cat([*cost, f1], 1))), corr.mean((3, 4, 5))


def _two(*size: int) -> tuple[torch.Tensor, torch.Tensor]:
    return pictures(2, 3, *size), pictures(2, 3, *size)


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "yolo_anchor_grids": lambda: (Yolo(), pictures(2, 3, 32, 32)),
    "centernet_dict": lambda: (CenterNet(), pictures(2, 3, 32, 32)),
    "crnn_lstm": lambda: (CRNN(), pictures(2, 1, 16, 32)),
    "siamese_normalised": lambda: (Siamese(), _two(16, 16)),
    "prototypical_distances": lambda: (Prototypical(), pictures(2, 3, 16, 16)),
    "capsule_routing": lambda: (Capsules(), pictures(2, 1, 16, 16)),
    "spatial_transformer": lambda: (SpatialTransformer(), pictures(2, 3, 16, 16)),
    "flow_correlation": lambda: (Correlation(), _two(32, 32)),
}
