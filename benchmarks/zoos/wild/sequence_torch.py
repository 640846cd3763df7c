"""Sequence models built from torch.nn's own attention and recurrent modules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

VOCABULARY, LENGTH, DIM = 83, 12, 48


class PositionalEncoding(nn.Module):
    """The tutorial's sines, (length, 1, dim)."""

    pe: torch.Tensor

    def __init__(self, d_model: int, max_len: int = 50) -> None:
        super().__init__()
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(max_len, 1, d_model)
        pe[:, 0, 0::2] = torch.sin(position * div_term)
        pe[:, 0, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.pe[: x.size(0)]


class TransformerModel(nn.Module):
    """The word language model of PyTorch's tutorial: time first, square causal mask."""

    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.pos_encoder = PositionalEncoding(DIM)
        layer = nn.TransformerEncoderLayer(DIM, 4, 96, 0.1)
        self.transformer_encoder = nn.TransformerEncoder(layer, layers)
        self.embedding = nn.Embedding(VOCABULARY, DIM)
        self.linear = nn.Linear(DIM, VOCABULARY)

    def forward(self, src: torch.Tensor, src_mask: torch.Tensor | None = None) -> torch.Tensor:
        src = self.pos_encoder(self.embedding(src) * math.sqrt(DIM))
        if src_mask is None:
            src_mask = nn.Transformer.generate_square_subsequent_mask(len(src))
        return self.linear(self.transformer_encoder(src, src_mask))


class PaddedClassifier(nn.Module):
    """Batch-first encoder, norm first, with a padding mask; mean over what is not padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, DIM, padding_idx=0)
        layer = nn.TransformerEncoderLayer(
            DIM, 4, 4 * DIM, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(DIM))
        self.head = nn.Linear(DIM, 6)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        padding = tokens == 0
        hidden = self.encoder(self.embedding(tokens), src_key_padding_mask=padding)
        kept = (~padding).unsqueeze(-1).float()
        return self.head((hidden * kept).sum(1) / kept.sum(1).clamp(min=1))


class Translator(nn.Module):
    """nn.Transformer between two vocabularies, with a mask for the target."""

    def __init__(self) -> None:
        super().__init__()
        self.source = nn.Embedding(VOCABULARY, DIM)
        self.target = nn.Embedding(VOCABULARY, DIM)
        self.transformer = nn.Transformer(DIM, 4, 1, 2, 96, batch_first=True)
        self.generator = nn.Linear(DIM, VOCABULARY)

    def forward(self, src: torch.Tensor, tgt: torch.Tensor) -> torch.Tensor:
        mask = self.transformer.generate_square_subsequent_mask(tgt.size(1))
        out = self.transformer(self.source(src), self.target(tgt), tgt_mask=mask)
        return self.generator(out)


class CaptionDecoder(nn.Module):
    """A convolution's feature map as memory of nn.TransformerDecoder."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2), nn.ReLU(), nn.Conv2d(32, DIM, 3, stride=2)
        )
        self.words = nn.Embedding(VOCABULARY, DIM)
        layer = nn.TransformerDecoderLayer(DIM, 3, 96, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, 2)
        self.head = nn.Linear(DIM, VOCABULARY)

    def forward(self, image: torch.Tensor, caption: torch.Tensor) -> torch.Tensor:
        memory = self.backbone(image).flatten(2).transpose(1, 2)
        length = caption.shape[1]
        causal = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1)
        return self.head(self.decoder(self.words(caption), memory, tgt_mask=causal))


class CrossModal(nn.Module):
    """nn.MultiheadAttention with kdim, vdim and a bias for keys and values, weights returned."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.audio, self.video = nn.Linear(20, 48), nn.Linear(10, 32), nn.Linear(12, 40)
        self.cross = nn.MultiheadAttention(48, 4, kdim=32, vdim=40, batch_first=True)
        self.own = nn.MultiheadAttention(48, 4, add_bias_kv=True, batch_first=True)
        self.head = nn.Linear(48, 3)

    def forward(
        self, text: torch.Tensor, audio: torch.Tensor, video: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        query = F.relu(self.text(text))
        mixed, weights = self.cross(query, F.relu(self.audio(audio)), F.relu(self.video(video)))
        query = query + mixed
        query = query + self.own(query, query, query, need_weights=False)[0]
        return self.head(query.mean(1)), weights


class TimeFirstAttention(nn.Module):
    """nn.MultiheadAttention, time first, with zero attention and per-head weights."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(20, DIM)
        self.attention = nn.MultiheadAttention(DIM, 4, add_zero_attn=True)
        self.norm = nn.LayerNorm(DIM)
        self.ff = nn.Sequential(nn.Linear(DIM, 96), nn.ReLU(), nn.Linear(96, 7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.proj(x).permute(1, 0, 2)
        y, _ = self.attention(x, x, x, average_attn_weights=False)
        return self.ff(self.norm(x + y)).permute(1, 0, 2)


class Tagger(nn.Module):
    """Stacked bidirectional LSTM over embeddings; scores of every word."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(VOCABULARY, DIM)
        self.lstm = nn.LSTM(DIM, 40, num_layers=2, bidirectional=True, batch_first=True)
        self.hidden2tag = nn.Linear(80, 9)

    def forward(self, sentence: torch.Tensor) -> torch.Tensor:
        lstm_out, _ = self.lstm(self.word_embeddings(sentence))
        return F.log_softmax(self.hidden2tag(lstm_out), dim=-1)


class PackedClassifier(nn.Module):
    """Packed sequences; the last states of both directions side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, DIM)
        self.rnn = nn.LSTM(DIM, 40, num_layers=1, bidirectional=True)
        self.fc = nn.Linear(80, 2)

    def forward(self, text: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(
            self.embedding(text), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        packed_output, (hidden, _) = self.rnn(packed)
        pad_packed_sequence(packed_output, batch_first=True)
        return self.fc(torch.cat((hidden[-2], hidden[-1]), dim=1))


class CharRNN(nn.Module):
    """GRU language model that takes and returns its state."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Embedding(VOCABULARY, DIM)
        self.gru = nn.GRU(DIM, 64, 2, batch_first=True)
        self.decoder = nn.Linear(64, VOCABULARY)

    def forward(
        self, x: torch.Tensor, hidden: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if hidden is None:
            hidden = torch.zeros(2, x.size(0), 64, device=x.device)
        out, hidden = self.gru(self.encoder(x), hidden)
        return self.decoder(out), hidden


class LastStep(nn.Module):
    """A stock-price LSTM: explicit zero states, the last step's output."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 64, 2, batch_first=True)
        self.fc = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h0 = torch.zeros(2, x.size(0), 64).requires_grad_()
        c0 = torch.zeros(2, x.size(0), 64).requires_grad_()
        out, (_hn, _cn) = self.lstm(x, (h0.detach(), c0.detach()))
        return self.fc(out[:, -1, :])


def _ids(*shape: int) -> torch.Tensor:
    return torch.randint(1, VOCABULARY, shape)


def _crossmodal() -> tuple[nn.Module, Any]:
    inputs = torch.randn(2, 9, 20), torch.randn(2, 7, 10), torch.randn(2, 7, 12)
    return CrossModal().eval(), inputs


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "tutorial_transformer": lambda: (TransformerModel().eval(), _ids(LENGTH, 2)),
    "padded_encoder": lambda: (PaddedClassifier().eval(), _ids(2, LENGTH)),
    "translator": lambda: (Translator().eval(), (_ids(2, LENGTH), _ids(2, 9))),
    "caption_decoder": lambda: (CaptionDecoder().eval(), (torch.randn(2, 3, 20, 20), _ids(2, 7))),
    "crossmodal_attention": _crossmodal,
    "time_first_attention": lambda: (TimeFirstAttention().eval(), torch.randn(2, 9, 20)),
    "bilstm_tagger": lambda: (Tagger().eval(), _ids(2, LENGTH)),
    "packed_lstm": lambda: (
        PackedClassifier().eval(),
        (_ids(2, LENGTH), torch.tensor([LENGTH, 7])),
    ),
    "char_gru": lambda: (CharRNN().eval(), _ids(2, LENGTH)),
    "stock_lstm": lambda: (LastStep().eval(), torch.randn(2, LENGTH, 5)),
}
