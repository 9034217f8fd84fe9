"""Cases for the tests of several processes. Run as a script, this file is one of two ranks.

    python rank_cases.py RANK STORE RESULTS

All cases share one start of the processes, because importing torch takes seconds.
"""

import pickle
import sys
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from skorch import NeuralNetClassifier
from torch import distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import sknoisy
from sknoisy._engine.batches import TrainingData
from sknoisy._engine.net import DeviceNet
from sknoisy._engine.ranks import trained_on_ranks
from sknoisy._engine.rows import TensorRows
from sknoisy.base import NetworkClassifier
from sknoisy.callbacks import MetaUpdate, PerSampleCrossEntropy
from sknoisy.meta import (
    VRI,
    CLIDObjective,
    CrossEntropyObjective,
    ForwardGradient,
    L2RWeights,
    LabelCorrector,
    MAEObjective,
    SoftLabelCorrector,
    TransitionCorrector,
    WNet,
    gradients,
)
from sknoisy.meta.collectives import Ranks, current_ranks
from sknoisy.meta.shared_batch_norm import SharedBatchNorm
from sknoisy.networks import MLP

N, D, N_CLASSES = 303, 20, 7
SGD = partial(torch.optim.SGD, lr=0.5, momentum=0.9)
EXPONENTS = torch.linspace(0, 1, N_CLASSES)


class BatchNormNetwork(nn.Sequential):
    """A convolution and a linear layer, each with batch norm."""

    def __init__(self):
        super().__init__(
            nn.Unflatten(1, (1, 4, 5)),
            nn.Conv2d(1, 3, 3),
            nn.BatchNorm2d(3, momentum=None),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(18, 16),
            nn.BatchNorm1d(16, affine=False),
            nn.ReLU(),
            nn.Linear(16, N_CLASSES),
        )


def small_mlp():
    return MLP(D, N_CLASSES, hidden=(16, 16))


def small_wnet(lr=0.5):
    return WNet(8, exponent=EXPONENTS, optimizer=partial(SGD, lr=lr))


def step_case(meta_model=small_wnet, objective=CLIDObjective, **update):
    return {"meta_model": meta_model, "objective": objective(), **update}


STEP_CASES = {
    "wnet": step_case(),
    "wnet, cross-entropy": step_case(objective=CrossEntropyObjective),
    "wnet, mae": step_case(partial(small_wnet, lr=5.0), MAEObjective, meta_every=2),
    "wnet, not shared": step_case(gradient=ForwardGradient(share_forward=False)),
    "vri": step_case(partial(VRI, n_embedding=3, hidden=(8,), kl_weight=0.1, optimizer=SGD)),
    "mlc": step_case(
        partial(LabelCorrector, n_embedding=3, skip=True, trust_meta_rows=True, optimizer=SGD),
        CrossEntropyObjective,
    ),
    "l2r": step_case(partial(L2RWeights, N), CrossEntropyObjective),
    "mslc": step_case(partial(SoftLabelCorrector, N, optimizer=SGD), CrossEntropyObjective),
    "batch norm": step_case(module=BatchNormNetwork),
    "transition": step_case(TransitionCorrector, CrossEntropyObjective),
}


def train(name, **changes):
    """Train a small network in float64 for 15 steps, and return what was learned."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N, D)), rng.integers(N_CLASSES, size=N)
    data = TrainingData(
        TensorRows(torch.from_numpy(X)),
        torch.from_numpy(y),
        torch.from_numpy(rng.uniform(0.2, 1.8, size=N)),
        torch.from_numpy(rng.random(N) < 0.1),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = {**STEP_CASES[name], **changes}
        module = settings.pop("module", small_mlp)().double()
        update = MetaUpdate(
            **settings, meta_rows=np.arange(0, N, 2), meta_batch_size=51, random_state=0
        )
        net = DeviceNet(
            module,
            PerSampleCrossEntropy,
            order=torch.Generator().manual_seed(0),
            callbacks=[("meta", update)],
            max_epochs=5,
            batch_size=101,
            lr=0.1,
            optimizer__momentum=0.9,
        )
        start = Start()
        update.meta_model = start.keep(update.meta_model)
        with trained_on_ranks(None, [net], None, data):
            net.fit(data)
    theta = flat(update.meta_model_)
    return {
        "w": flat(net.module_),
        "theta": theta,
        "moved": (theta - start.theta).abs().max().item() if len(theta) else 0.0,
        "meta_loss": torch.tensor(net.history[:, "meta_loss"], dtype=torch.float64),
        "train_loss": torch.tensor(net.history[:, "train_loss"], dtype=torch.float64),
    }


class Start:
    """Keeps the first parameters of the meta model that a factory makes."""

    def keep(self, factory):
        def make(n_features, n_classes):
            known = {"n_features": n_features, "n_classes": n_classes}
            names = MetaUpdate(factory)._build_meta_model
            model = names(**known)
            self.theta = flat(model)
            return model

        return make


def flat(module):
    """The parameters and buffers of a module in float64, one after the other."""
    values = [value.detach().double().reshape(-1) for value in module.state_dict().values()]
    return torch.cat(values) if values else torch.zeros(0)


# --- wrong variants -------------------------------------------------------------------------


class OwnCLID(CLIDObjective):
    """CLID of the rows of each rank, averaged over the ranks."""

    def __call__(self, features, logits, targets=None):
        ranks = current_ranks()
        own = ranks.share(len(logits))
        return super().__call__(features[own], logits[own]) / ranks.n


class OwnWeights(ForwardGradient):
    """The virtual step normalises the weights over the rows of each rank."""

    def _training_slopes(self, problem, logits, guidance, outputs):
        own = problem.ranks.share(len(logits))
        guidance = guidance.clone()
        guidance[own] *= outputs.sample_weight[own].sum() / len(logits) / guidance[own].sum()
        return super()._training_slopes(problem, logits, guidance, outputs)


def averaged_meta_slopes(problem, *args):
    meta_loss, slopes = meta_slopes(problem, *args)
    return meta_loss, {name: slope / problem.ranks.n for name, slope in slopes.items()}


meta_slopes = gradients.meta_slopes


def train_wrongly():
    """The results of wrong variants, by the name of the right case and what is wrong."""
    averaged = mock.patch.object(gradients, "meta_slopes", averaged_meta_slopes)
    own_draws = mock.patch.object(Ranks, "part_streams", lambda ranks, device: own_seed(ranks))
    wrong = {
        ("wnet", "CLID of each rank"): train("wnet", objective=OwnCLID()),
        ("wnet", "weights of each rank"): train("wnet", gradient=OwnWeights()),
    }
    with averaged:
        wrong["wnet", "v averaged"] = train("wnet")
    with own_draws:
        wrong["vri", "draws of each rank"] = train("vri")
    return wrong


def own_seed(ranks):
    torch.manual_seed(ranks.rank)


# --- estimators -----------------------------------------------------------------------------

QUICK = {"max_epochs": 4, "batch_size": 50, "random_state": 0}
PLAIN = {"module_params": {"hidden": (16,), "dropout": 0.0, "input_dropout": 0.0}, **QUICK}
DROPOUT = {"module_params": {"hidden": (16,), "dropout": 0.5}, **QUICK}

ESTIMATORS = {
    "CLID-MU": sknoisy.CLIDMUClassifier(meta_batch_size=41, **PLAIN),
    "CLID-MU with VRI": sknoisy.CLIDMUClassifier(weighting="vri", meta_lr=1e-3, **PLAIN),
    "Meta-Weight-Net": sknoisy.MetaWeightNetClassifier(**PLAIN),
    "MLC": sknoisy.MLCClassifier(**PLAIN),
    "L2R": sknoisy.L2RClassifier(**PLAIN),
    "cross-entropy": NetworkClassifier(**PLAIN),
    "ELR": sknoisy.ELRClassifier(**PLAIN),
    "CDR": sknoisy.CDRClassifier(**PLAIN),
}


def make_xy():
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(121) % 3)
    X = rng.normal(size=(121, 6))
    X[:, :3] += 3 * np.eye(3)[y]
    return X, y


def fit_all(folder):
    """The probabilities of each estimator, of cross-entropy on a memory map, too."""
    X, y = make_xy()
    path = Path(folder) / f"rows-{distributed.is_initialized() and distributed.get_rank()}.npy"
    np.save(path, X)
    proba = {name: est.fit(X, y).predict_proba(X) for name, est in ESTIMATORS.items()}
    on_disk = ESTIMATORS["cross-entropy"].fit(np.load(path, mmap_mode="r"), y)
    return proba | {"memory map": on_disk.predict_proba(X)}


# --- refusals -------------------------------------------------------------------------------


class WithSyncBatchNorm(nn.Sequential):
    def __init__(self, n_features, n_classes):
        super().__init__(nn.SyncBatchNorm(n_features), nn.Linear(n_features, n_classes))


REFUSED = {
    "two networks": sknoisy.CoTeachingClassifier(**QUICK),
    "own step": sknoisy.FixMatchClassifier(**QUICK),
    "rounds": sknoisy.MILDClassifier(**QUICK),
    "iterations": sknoisy.MLNTClassifier(**QUICK),
    "purification": sknoisy.DMLPClassifier(**QUICK),
    "gradient": sknoisy.CLIDMUClassifier(gradient="reverse", **QUICK),
    "batch norm": NetworkClassifier(module=WithSyncBatchNorm, **QUICK),
    "checkpoint": NetworkClassifier(checkpoint="fit.pt", **QUICK),
    "limit of time": NetworkClassifier(max_time=60, **QUICK),
    "small batch": NetworkClassifier(**QUICK | {"batch_size": 3}),
    "small meta batch": sknoisy.CLIDMUClassifier(meta_batch_size=3, **QUICK),
}


def failure(fit, *args):
    """Type and text of what a fit raises."""
    try:
        fit(*args)
    except Exception as error:
        return type(error).__name__, str(error)
    return "nothing", ""


def refusals(rank):
    X, y = make_xy()
    found = {name: failure(est.fit, X, y) for name, est in REFUSED.items()}
    plain = ESTIMATORS["cross-entropy"]
    found["other labels"] = failure(plain.fit, X, np.roll(y, rank))
    found["other settings"] = failure(NetworkClassifier(lr=0.1 + rank).fit, X, y)
    module = DistributedDataParallel(nn.Linear(6, 3))
    net = NeuralNetClassifier(
        module, criterion=PerSampleCrossEntropy, train_split=None, callbacks=[MetaUpdate()]
    )
    own_batch_norm = mock.patch.object(SharedBatchNorm, "_batch_norm", staticmethod(F.batch_norm))
    with own_batch_norm:
        found["own batch norm"] = failure(train, "batch norm")
    found["DDP"] = failure(net.fit, X.astype(np.float32), y)
    return found


def main(rank, store, results):
    """Run all cases as one of two ranks."""
    rank = int(rank)
    distributed.init_process_group(
        "gloo", init_method=Path(store).as_uri(), rank=rank, world_size=2
    )
    X, y = make_xy()
    dropout = NetworkClassifier(**DROPOUT)
    unseeded = NetworkClassifier(**DROPOUT | {"random_state": None})
    ranks = Ranks()
    found = {
        "steps": {name: train(name) for name in STEP_CASES},
        "wrong": train_wrongly(),
        "proba": fit_all(Path(store).parent),
        "dropout": [dropout.fit(X, y).predict_proba(X) for _ in range(2)],
        "unseeded": unseeded.fit(X, y).predict_proba(X),
        "n_ranks": dropout.n_ranks_,
        "bars": len(NetworkClassifier(verbose=1)._progress()),
        "refused": refusals(rank),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ranks.part_streams(torch.device("cpu"))
        found["own draw"] = torch.rand(3)
        with ranks.common_draws():
            found["common draw"] = torch.rand(3)
        ranks.join_streams()
        found["next draw"] = torch.rand(3)
    Path(results).write_bytes(pickle.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
