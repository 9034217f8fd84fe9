"""The cost of strong views of images, compared with a plain step of the small network."""

import statistics
import time

import numpy as np
import torch
from torch.nn import functional as F

from sknoisy._engine.augment import random_flip_crop
from sknoisy._engine.scaling import InputScaling
from sknoisy._engine.strong_augment import StrongViews
from sknoisy.networks import PreActResNet

KINDS = ("randaugment", "promix", "autoaugment")


def strong_view_shares(images, *, batch_size=100, n_repeats=20, seed=0):
    """Return for each kind of strong views its share of the time of a plain step, on the CPU.

    A plain step is flip and crop, forward pass, backward pass and SGD of the small PreAct ResNet.
    Steps and views of a batch alternate, and the time of the thread is measured, so that other
    processes hardly matter. torch should use one thread.

    Parameters
    ----------
    images : array of uint8 of shape (n, H, W, C)
        At least `batch_size` real images; noise has other histograms.

    Returns
    -------
    shares : dict of str to float
        The median time of views over the median time of a step.
    """
    device = torch.device("cpu")
    images = np.asarray(images[:batch_size])
    scaling = InputScaling().fit(images)
    X = scaling.apply(scaling.to_tensor(images))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PreActResNet(X.shape[1], 10, depth="small")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    y = torch.arange(len(X)) % 10

    def step():
        optimizer.zero_grad()
        F.cross_entropy(network(random_flip_crop(X, generator=generator)), y).backward()
        optimizer.step()

    views = {kind: StrongViews(scaling, kind, device) for kind in KINDS}
    seconds = {name: [] for name in ("step", *KINDS)}
    for repeat in range(n_repeats + 1):
        for name, took in seconds.items():
            start = time.thread_time()
            if name == "step":
                step()
            else:
                views[name](X, generator)
            if repeat > 0:  # the first time allocates memory
                took.append(time.thread_time() - start)
    of_step = statistics.median(seconds.pop("step"))
    return {kind: statistics.median(took) / of_step for kind, took in seconds.items()}
