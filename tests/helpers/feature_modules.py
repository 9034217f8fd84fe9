"""Modules whose penultimate features are found in different ways, for test_with_features.py."""

import torch
import torch.nn.functional as F
from torch import nn

from sknoisy.networks import MLP, PreActResNet, WideResNet


class LSTMClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 8, batch_first=True)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])


class TransformerClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.encoder(x).mean(1))


class SharedLinear(nn.Module):
    """One linear layer runs twice and last; a wider one was registered after it."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.first = nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(input=self.fc(self.first(x)).relu())


class TwoNames(nn.Module):
    """One layer under two names."""

    def __init__(self):
        super().__init__()
        self.first, self.fc = nn.Linear(6, 6), nn.Linear(6, 4)
        self.second = self.first

    def forward(self, x):
        return self.fc(self.second(self.first(x).relu()).relu())


class TimmResNet(nn.Module):
    """timm's ResNet: forward_head pools, drops out, then stops or classifies."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3)
        self.bn1 = nn.BatchNorm2d(6)
        self.drop_rate = 0.3
        self.fc = nn.Linear(6, 4)

    def get_classifier(self):
        return self.fc

    def forward_features(self, x):
        return self.bn1(self.conv1(x)).relu()

    def forward_head(self, x, pre_logits: bool = False):
        x = F.dropout(x.mean((2, 3)), self.drop_rate, self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


class TimmViT(TimmResNet):
    """timm's VisionTransformer: tokens, of which the head takes the first, then normalises."""

    def __init__(self):
        nn.Module.__init__(self)
        self.patch_embed = nn.Conv2d(1, 8, 4, stride=4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 8))
        self.blocks = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.fc_norm, self.head_drop = nn.LayerNorm(8), nn.Dropout(0.3)
        self.head = nn.Linear(8, 4)

    def get_classifier(self):
        return self.head

    def forward_features(self, x):
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2)
        return self.blocks(torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], 1))

    def forward_head(self, x, pre_logits: bool = False):
        x = self.head_drop(self.fc_norm(x[:, 0]))
        return x if pre_logits else self.head(x)


class TimmConvolutionHead(TimmResNet):
    """As timm's BiT: the classifier is a convolution of the pooled map."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Conv2d(6, 4, 1)

    def forward_head(self, x, pre_logits: bool = False):
        x = F.dropout(x.mean((2, 3), keepdim=True), self.drop_rate, self.training)
        return x if pre_logits else self.fc(x).flatten(1)


class TimmPair(TimmResNet):
    """As timm's distilled transformers: two classifiers, of which the mean is taken."""

    def __init__(self):
        super().__init__()
        self.fc_dist = nn.Linear(6, 4)

    def get_classifier(self):
        return self.fc, self.fc_dist

    def forward_head(self, x, pre_logits: bool = False):
        x = F.dropout(x.mean((2, 3)), self.drop_rate, self.training)
        return x if pre_logits else (self.fc(x) + self.fc_dist(x)) / 2


class WithoutGetClassifier(TimmResNet):
    get_classifier = property()  # hasattr says no


class WithoutPreLogits(TimmResNet):
    """The two halves alone, without timm's way to stop in between."""

    def forward_head(self, x):
        return self.fc(F.dropout(x.mean((2, 3)), self.drop_rate, self.training))


class ScalesItsInput(TimmResNet):
    """Overrides forward alone: timm's methods are not the whole of it."""

    def forward(self, x):
        return super().forward(x / 100)


def scales_its_input_by_a_hook():
    module = TimmResNet()
    module.register_forward_pre_hook(scale)
    return module


def scale(module, args):
    return (args[0] / 100,)


def scales_its_input_by_an_attribute():
    module = TimmResNet()
    module.forward = lambda x: TimmResNet.forward(module, x / 100)
    return module


def group_norm_cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(36, 4),
    )


MODULES = {
    "mlp": (lambda: MLP(6, 4, hidden=(16, 8), dropout=0.3, input_dropout=0.2), (6,)),
    "small": (lambda: PreActResNet(1, 4, depth="small"), (1, 8, 8)),
    "wide": (lambda: WideResNet(2, 4, depth=10, width=1, dropout=0.3), (2, 10, 8)),
    "lstm": (LSTMClassifier, (7, 5)),
    "transformer": (TransformerClassifier, (7, 8)),
    "group norm": (group_norm_cnn, (1, 8, 8)),
    "shared": (SharedLinear, (6,)),
    "two names": (TwoNames, (6,)),
    "linear layer": (lambda: nn.Linear(6, 4), (6,)),
    "log-softmax": (lambda: nn.Sequential(nn.Linear(6, 4), nn.LogSoftmax(1)), (6,)),
    "timm ResNet": (TimmResNet, (1, 8, 8)),
    "timm ViT": (TimmViT, (1, 8, 8)),
    "timm convolution": (TimmConvolutionHead, (1, 8, 8)),
    "timm pair": (TimmPair, (1, 8, 8)),
    "no get_classifier": (WithoutGetClassifier, (1, 8, 8)),
    "no pre_logits": (WithoutPreLogits, (1, 8, 8)),
    "forward overridden": (ScalesItsInput, (1, 8, 8)),
    "forward hook": (scales_its_input_by_a_hook, (1, 8, 8)),
    "forward attribute": (scales_its_input_by_an_attribute, (1, 8, 8)),
}
# Where the last layer is not one nn.Linear whose output are the logits.
OTHER_HEADS = {"log-softmax", "timm convolution", "timm pair"}
FC_NAMES = {"group norm": "6", "linear layer": "", "timm ViT": "head"}
# Dropout in a head that is called twice: the features come from other masks than the logits.
TWO_HEAD_CALLS = {"timm convolution", "timm pair", "no get_classifier"}


def make(name, n=6):
    """A module of the table, always at the same start, and rows for it."""
    torch.manual_seed(0)
    build, shape = MODULES[name]
    return build(), torch.randn(n, *shape)
