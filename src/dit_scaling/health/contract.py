"""The contract of classes of one's own: what a network has to be before anything is trained."""

import copy
from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor

from dit_scaling.common.errors import UserError
from dit_scaling.config.study import Study
from dit_scaling.diffusion.process import AnyProcess, create_diffusion
from dit_scaling.health.check import Check, at_most, describe_failures
from dit_scaling.models.own import OwnNetwork
from dit_scaling.variants import ClassVariant, count_gflops
from dit_scaling.variants.own_class import own_multiply_adds

SAMPLES = 4
MOVED = 0.05  # standard deviation of what is added to the weights, as gates that start at zero hide what is behind them
SAME = 1e-5  # of the output's size, by which one computation may differ from another


def check_contract(
    variant: ClassVariant, process: AnyProcess, shape: tuple[int, int, int], classes: int
) -> list[Check]:
    """Shapes, null class, conditioning, gradients, determinism, compilation and Gflops of one variant, on the CPU.

    What the class's own code raises is a failed check too.

    Args:
        variant: names the class.
        process: what it is to be trained for.
        shape: of the study's latents, (C, H, W).
        classes: of the study, without the null class.

    Raises:
        UserError: the class cannot be imported or built.
    """

    def build() -> OwnNetwork:
        torch.manual_seed(0)
        return OwnNetwork(variant, shape[1], classes, shape[0])

    network, again = build(), build()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((SAMPLES, *shape), generator=generator)
    y = torch.arange(SAMPLES) % classes
    diffusion = create_diffusion(process)
    t, other = (diffusion.draw_times(SAMPLES, generator) for _ in range(2))
    first: list[Callable[[], list[Check]]] = [
        lambda: [_check_shape(network(x, t, y), x, process.objective)],
        lambda: [_check_seed(network, again)],
        lambda: [_check_apart(network)],
    ]
    then: list[Callable[[], list[Check]]] = [
        lambda: _check_conditions(network, x, t, y, other, classes),
        lambda: [_check_null_class(network, x, t, classes)],
        lambda: _check_repeats(network, x, t, y),
        lambda: [
            _check_gradients(network, diffusion.training_losses(network, x, t, y, torch.randn_like(x))["loss"].mean())
        ],
        lambda: [_check_compiled(network, x, t, y)],
        lambda: _check_costs(variant, shape),
    ]
    checks = [check for group in first for check in _carried_out(group)]
    if not all(check.passed for check in checks):
        return checks
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(MOVED * torch.randn(weight.shape, generator=generator))
    return checks + [check for group in then for check in _carried_out(group)]


def refuse_broken_contracts(study: Study) -> None:
    """Check every class of one's own that a study names.

    Raises:
        UserError: one does not keep to the contract: each failed check with its value and what it means.
    """
    latents = (study.vae.latent_channels, study.latent_size, study.latent_size)
    for name in study.variants:
        variant = study.variant(name)
        if isinstance(variant, ClassVariant):
            checks = check_contract(variant, study.process(study.objective(variant)), latents, study.data.classes)
            if not all(check.passed for check in checks):
                raise UserError(f"{name}: {describe_failures(checks)}")


def _carried_out(group: Callable[[], list[Check]]) -> list[Check]:
    """The checks of a group, or one that failed where the class's own code raises."""
    try:
        return group()
    except UserError:
        raise
    except Exception as error:  # whatever the class does
        return [Check("runs", _named(error), "no error", False, "the class's own code fails on what it is given")]


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _check_shape(output: Tensor, x: Tensor, objective: str) -> Check:
    """The output of untrained weights: its shape and type."""
    whole = (len(x), 2 * x.shape[1], *x.shape[2:])
    allowed = [whole] if objective == "ddpm" else [tuple(x.shape), whole]
    found = f"{tuple(output.shape)} {str(output.dtype).removeprefix('torch.')}"
    return Check(
        "shape of the output",
        found,
        f"{' or '.join(map(str, allowed))} float32, finite",
        tuple(output.shape) in allowed and output.dtype == torch.float32 and bool(output.isfinite().all()),
        "the class does not map latents, times and labels to a prediction for every latent; objective ddpm also wants "
        "as many channels for the variance",
    )


def _check_seed(network: OwnNetwork, again: OwnNetwork) -> Check:
    """Two networks built after the same seed."""
    states = network.state_dict(), again.state_dict()
    differing = [name for name in states[0] if not states[0][name].equal(states[1][name])]
    return Check(
        "weights follow from the seed",
        f"{len(differing)} of {len(states[0])} tensors differ",
        "0",
        not differing,
        "initial weights are drawn from another generator than torch's, or left as the memory was: runs could not be "
        f"repeated ({', '.join(differing[:3])})",
    )


def _check_apart(network: OwnNetwork) -> Check:
    """No tensor of the weights' file lies in the memory of another weight or buffer."""
    held = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    names = defaultdict[int, list[str]](list)
    for name, tensor in held:
        if tensor.numel():
            names[tensor.untyped_storage().data_ptr()].append(name)
    filed = network.state_dict().keys()
    shared = [alike for alike in names.values() if len(alike) > 1 and not filed.isdisjoint(alike)]
    return Check(
        "weights are apart",
        " and ".join("(" + ", ".join(alike[:3]) + ")" for alike in shared[:3]) + " are shared" if shared else "all",
        "all",
        not shared,
        "one tensor stands under several names, as tied weights do, and would be averaged and written wrongly. Give "
        "each module its own, or use one module twice; constants that modules share are buffers with persistent=False",
    )


def _check_conditions(network: OwnNetwork, x: Tensor, t: Tensor, y: Tensor, other: Tensor, classes: int) -> list[Check]:
    """Whether another time and another label make another output."""
    with torch.no_grad():
        output = network(x, t, y)
        changes = {
            "depends on the time": (network(x, other, y), "the time that it is fed"),
            "depends on the label": (network(x, t, (y + 1) % classes), "the label"),
        }
    return [
        Check(
            name,
            f"{float((changed - output).abs().max()):.3g}",
            "more than 0, finite",
            0 < float((changed - output).abs().max()) < float("inf"),
            f"the network ignores {what} (largest change of the output)",
        )
        for name, (changed, what) in changes.items()
        if classes > 1 or "label" not in name
    ]


def _check_null_class(network: OwnNetwork, x: Tensor, t: Tensor, classes: int) -> Check:
    """Whether the null class is one of its own: unlike the first label and the last, which a clamped one would be."""
    meaning = (
        f"the network cannot take the label {classes}, the null class, or takes it for one of the classes, and could "
        "not be guided (smallest change of the output)"
    )
    with torch.no_grad():
        try:
            null, *others = (network(x, t, torch.full((len(x),), label)) for label in (classes, 0, classes - 1))
        except Exception as error:  # as a table without a row for it raises
            return Check("has a null class", _named(error), "an output of its own", False, meaning)
    change = min(float((null - output).abs().max()) for output in others)
    return Check("has a null class", f"{change:.3g}", "more than 0, finite", 0 < change < float("inf"), meaning)


def _check_repeats(network: OwnNetwork, x: Tensor, t: Tensor, y: Tensor) -> list[Check]:
    """The same input twice, in training; and one sample alone, in evaluation mode."""
    with torch.no_grad():
        output = network.train()(x, t, y)
        repeated = _difference(network(x, t, y), output)
        whole = network.eval()(x, t, y)
        alone = _difference(network(x[:1], t[:1], y[:1]), whole[:1])
    network.train()
    return [
        at_most("repeats itself", repeated, 0.0, "dropout or another random layer acts: a run could not be resumed"),
        at_most("samples are apart", alone, SAME, "a sample depends on others of its batch, as by batch norm"),
    ]


def _check_gradients(network: OwnNetwork, loss: Tensor) -> Check:
    """Every trained weight gets a gradient from the loss."""
    network.zero_grad()
    torch.autograd.backward(loss)
    idle = [
        name
        for name, weight in network.named_parameters()
        if weight.requires_grad and (weight.grad is None or not bool(weight.grad.any()))
    ]
    return Check(
        "gradient to every weight",
        "none at " + ", ".join(idle[:3]) if idle else "at all",
        "at all",
        not idle,
        "weights are not part of what is computed, and would be counted and averaged for nothing",
    )


def _check_compiled(network: OwnNetwork, x: Tensor, t: Tensor, y: Tensor) -> Check:
    """The output as torch.compile traces it; without generating code, which takes minutes."""
    torch.compiler.reset()  # after eight networks of one class torch would trace no more, and compare nothing
    with torch.no_grad():
        expected = network(x, t, y)
        try:
            traced = copy.deepcopy(network)
            traced.compile(dynamic=False, backend="eager")
            difference = _difference(traced(x, t, y), expected)
        except Exception as error:  # whatever of the class torch's tracer cannot take
            return Check("compiles", _named(error), "the same output", False, "torch.compile cannot trace the class")
    return at_most("compiles", difference, SAME, "torch.compile makes something else of the class")


def _check_costs(variant: ClassVariant, shape: tuple[int, int, int]) -> list[Check]:
    """The class's own closed form of its Gflops, where it has one, against torch's count."""
    counted, own = count_gflops(variant, shape[1], shape[0]), own_multiply_adds(variant, shape[1], shape[0])
    if own is None:
        return []
    return [
        at_most(
            "Gflops by its own formula",
            abs(own / 1e9 / counted - 1),
            0.01,
            f"the class's multiply_adds gives {own / 1e9:.4g} Gflops, and torch's counter {counted:.4g} (difference, "
            "as a share)",
        )
    ]


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
