"""Meta gradients of any meta model by first derivatives and finite differences alone."""

import torch

from sknoisy.meta import BatchOutputs


def begun(problem):
    """The problem, its meta model's parameters of this batch made."""
    problem.meta_model.begin_batch(len(problem.targets))
    return problem


def outputs_of(problem):
    """Outputs of the network for the training batch at w, and logits with the graph to w."""
    features, logits = problem.network(problem.network.parameters, problem.x)
    extra = problem.sample_weight, problem.trusted, problem.rows
    return BatchOutputs(logits.detach(), features.detach(), problem.targets, *extra), logits


def virtual_meta_loss(problem):
    """M(w_hat) at the meta model's present parameters."""
    outputs, logits = outputs_of(problem)
    loss = problem.meta_model.training_loss(logits, problem.meta_model(outputs), outputs)
    parameters = problem.network.parameters
    slopes = torch.autograd.grad(loss, list(parameters.values()))
    virtual = {
        name: (p - problem.lr * slope).detach()
        for (name, p), slope in zip(parameters.items(), slopes, strict=True)
    }
    return problem.objective(*problem.network(virtual, problem.meta_x), problem.meta_targets)


def finite_differences(problem, step=1e-5):
    """Central differences of M(w_hat(theta)) by every entry of theta."""
    slopes = []
    for theta in problem.meta_model.meta_parameters():
        for i in range(theta.numel()):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    theta.view(-1)[i] += sign * step
                values.append(virtual_meta_loss(problem))
                with torch.no_grad():
                    theta.view(-1)[i] -= sign * step
            slopes.append((values[0] - values[1]) / (2 * step))
    return torch.stack(slopes)


def slopes_of_rows(problem, x, targets):
    """Gradient of each row's cross-entropy at w, shape (n, n_parameters)."""
    parameters = problem.network.parameters
    _, logits = problem.network(parameters, x)
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    slopes = [
        torch.autograd.grad(loss, list(parameters.values()), retain_graph=True) for loss in losses
    ]
    return torch.stack([torch.cat([s.flatten() for s in slope]) for slope in slopes])
