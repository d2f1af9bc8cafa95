"""The weights of the paper's path, bit for bit: DiT in the standard parametrisation, ddpm, linear, epsilon.

The arithmetic of a run is written out once more below, in plain PyTorch and in one order, and `train_to` has to come to
the very same weights. Both are computed on one machine, so the test holds on any: kernels differ from processor to
processor, but not from one call to the next. It shows that initial weights, draws, loss, update and average are what
they were, to the last rounding: whoever changes an operation, their order or an initialisation sees it fail, and then
finished studies would not be what a new run gives. It does not show that the arithmetic is right, which tests against
other implementations do, nor that bits agree between machines or versions of torch.
"""

import hashlib
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from dit_scaling.config.recipe import Recipe
from dit_scaling.config.stages import TrainSettings
from dit_scaling.latents.reader import LatentReader
from dit_scaling.training.loop import train_to
from dit_scaling.training.runtime import Runtime
from dit_scaling.variants import Variant

CHANNELS, SIDE, CLASSES = 2, 8, 3
DEPTH, WIDTH, HEADS, PATCH = 2, 32, 2, 2
GRID = SIDE // PATCH
SEED, STEPS, BATCH = 0, 20, 8
RATE, WARMUP, CLIP, DECAY, DROPOUT = 2.0e-3, 5, 0.5, 0.998, 0.1


def test_twenty_steps_end_at_the_very_weights_that_are_written_out_here(toy_latents: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        batch_size=BATCH,
        learning_rate=RATE,
        warmup_steps=WARMUP,
        gradient_clip=CLIP,
        ema_decay=DECAY,
        ema_ramp=True,
        class_dropout_prob=DROPOUT,
    )
    settings = TrainSettings(
        variant=Variant(size="Toy", patch=PATCH, depth=DEPTH, hidden_size=WIDTH, num_heads=HEADS),
        seed=SEED,
        input_size=SIDE,
        in_channels=CHANNELS,
        num_classes=CLASSES,
        recipe=recipe,
        latents="toy",
    )
    folder = train_to(settings, toy_latents, STEPS, tmp_path, Runtime(device=torch.device("cpu")))
    raw, ema, seen = written_out(LatentReader(toy_latents, "train"))
    assert 0 in seen  # the last term of the bound was part of it
    for expected, name in ((raw, "raw"), (ema, "ema")):
        found = load_file(folder.export_path(STEPS, f"{name}.safetensors"))
        for key, tensor in expected.items():
            assert torch.equal(found[key], tensor), f"{name} {key}"
        assert found.keys() - {"pos_embed"} == expected.keys()


def written_out(reader: LatentReader) -> tuple[dict[str, Tensor], dict[str, Tensor], set[int]]:
    """Raw and EMA weights after the steps, by name, and the timesteps that were drawn."""
    weights = initial_weights()
    flat = torch.cat([weight.detach().flatten() for weight in weights.values()])
    ends = np.cumsum([weight.numel() for weight in weights.values()])
    starts = ends - [weight.numel() for weight in weights.values()]
    for weight, start, end in zip(weights.values(), starts, ends, strict=True):
        weight.data = flat[start:end].view(weight.shape)
    average, seen = flat.clone(), set[int]()
    optimiser = torch.optim.AdamW([flat], RATE, (0.9, 0.999), weight_decay=0.0, fused=True)
    for step in range(STEPS):
        x0, t, y, noise = batch(reader, step)
        seen |= set(t.tolist())
        torch.autograd.backward(loss(weights, x0, t, y, noise).mean())
        flat.grad = torch.cat([gradient(weight).flatten() for weight in weights.values()])
        torch.nn.utils.clip_grad_norm_([flat], CLIP)
        optimiser.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / WARMUP)
        optimiser.step()
        average.lerp_(flat, 1 - min(DECAY, (2 + step) / (11 + step)))
    named = [
        {
            name: tensor[start:end].view(weight.shape)
            for (name, weight), start, end in zip(weights.items(), starts, ends, strict=True)
        }
        for tensor in (flat, average)
    ]
    return named[0], named[1], seen


def gradient(weight: Tensor) -> Tensor:
    """What autograd left there, which is taken away."""
    found, weight.grad = weight.grad, None
    assert found is not None
    return found


def seed_of(*parts: object) -> int:
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def initial_weights() -> dict[str, nn.Parameter]:
    """By the released names. Layers draw weights of their own when they are made, before those of the paper."""
    torch.manual_seed(seed_of("init", SEED))
    layers: dict[str, nn.Module] = {
        "x_embedder.proj": nn.Conv2d(CHANNELS, WIDTH, PATCH, PATCH),
        "t_embedder.mlp.0": nn.Linear(256, WIDTH),
        "t_embedder.mlp.2": nn.Linear(WIDTH, WIDTH),
        "y_embedder.embedding_table": nn.Embedding.from_pretrained(torch.empty(CLASSES + 1, WIDTH), freeze=False),
    }
    for block in (f"blocks.{number}" for number in range(DEPTH)):
        layers[f"{block}.attn.qkv"] = nn.Linear(WIDTH, 3 * WIDTH)
        layers[f"{block}.attn.proj"] = nn.Linear(WIDTH, WIDTH)
        layers[f"{block}.mlp.fc1"] = nn.Linear(WIDTH, 4 * WIDTH)
        layers[f"{block}.mlp.fc2"] = nn.Linear(4 * WIDTH, WIDTH)
        layers[f"{block}.adaLN_modulation.1"] = nn.Linear(WIDTH, 6 * WIDTH)
    layers["final_layer.linear"] = nn.Linear(WIDTH, 2 * PATCH**2 * CHANNELS)
    layers["final_layer.adaLN_modulation.1"] = nn.Linear(WIDTH, 2 * WIDTH)
    weights = {f"{name}.{kind}": weight for name, made in layers.items() for kind, weight in made.named_parameters()}
    for name, weight in weights.items():
        if name.endswith("bias") or "adaLN" in name or "final" in name:
            nn.init.zeros_(weight)
        elif "x_embedder" in name or "blocks" in name:
            nn.init.xavier_uniform_(weight.flatten(1))
        else:
            nn.init.normal_(weight, std=0.02)
    return weights


def batch(reader: LatentReader, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Latents, timesteps, labels and noise of a step, in the order in which they are drawn."""
    rng = torch.Generator().manual_seed(seed_of("train", SEED, step))
    t = torch.randint(1000, (BATCH,), generator=rng)
    mirrored = torch.rand(BATCH, generator=rng) < 0.5
    dropped = torch.rand(BATCH, generator=rng) < DROPOUT
    posterior, noise = torch.randn((2, BATCH, CHANNELS, SIDE, SIDE), generator=rng)
    places = np.arange(step * BATCH, (step + 1) * BATCH)
    order = np.random.default_rng([SEED, places[0] // len(reader)]).permutation(len(reader))  # batches divide an epoch
    chosen = order[places % len(reader)]
    views = torch.from_numpy(reader.moments(chosen))
    mean, log_variance = views[torch.arange(BATCH), mirrored.long()].float().chunk(2, dim=1)
    x0 = (mean + torch.exp(0.5 * log_variance) * posterior) * reader.manifest.scale
    y = torch.where(dropped, CLASSES, torch.from_numpy(np.asarray(reader.labels, dtype=np.int64))[chosen])
    return x0, t, y, noise


def loss(weights: dict[str, nn.Parameter], x0: Tensor, t: Tensor, y: Tensor, noise: Tensor) -> Tensor:
    """Error of the noise plus the bound in bits, (N,)."""
    abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), dim=0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), abar[:-1]])
    alphas = abar / before
    betas = 1 - alphas
    variance = betas * (1 - before) / (1 - abar)
    smallest = torch.cat([variance[1:2], variance[1:]]).log()
    of_error = betas / (alphas * (1 - before))
    of_error[0] = 0
    mean_x0, mean_xt = betas * before.sqrt() / (1 - abar), alphas.sqrt() * (1 - before) / (1 - abar)
    table = torch.stack(
        [abar.sqrt(), (1 - abar).sqrt(), mean_x0, mean_xt, smallest, betas.log() - smallest, of_error], dim=1
    )
    signal, sigma, mean_x0, mean_xt, smallest, span, of_error = table[t].float().view(-1, 7, 1, 1, 1).unbind(1)

    x = torch.addcmul(signal * x0, sigma, noise)
    predicted, place = network(weights, x, t, y).chunk(2, dim=1)
    error = (predicted - noise).square()
    r = torch.addcmul(span / 2, span / 2, place)
    bound = 0.5 * ((torch.exp(-r) * (1 + of_error * error.detach()) + r).mean(dim=(1, 2, 3)) - 1)
    if bool((t == 0).any()):
        mean = mean_x0 * ((x - sigma * predicted.detach()) / signal) + mean_xt * x
        narrow = torch.exp(-(0.5 * (smallest + (place + 1) / 2 * span)))
        above, below = cdf((x0 - mean + 1 / 255) * narrow), cdf((x0 - mean - 1 / 255) * narrow)
        chance = torch.where(x0 > 0.999, 1, above) - torch.where(x0 < -0.999, 0, below)
        bound = torch.where(t == 0, (-chance.clamp(min=1e-12).log()).mean(dim=(1, 2, 3)), bound)
    return error.mean(dim=(1, 2, 3)) + bound / math.log(2)


def cdf(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def network(weights: dict[str, nn.Parameter], x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """DiT's output (N, 2C, I, I)."""

    def linear(name: str, inputs: Tensor) -> Tensor:
        return F.linear(inputs, weights[f"{name}.weight"].flatten(1), weights[f"{name}.bias"])

    def modulated(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return torch.addcmul(shift, F.layer_norm(tokens, (WIDTH,), eps=1e-6), 1 + scale)

    patches = x.reshape(BATCH, CHANNELS, GRID, PATCH, GRID, PATCH).permute(0, 2, 4, 1, 3, 5).reshape(BATCH, GRID**2, -1)
    tokens = linear("x_embedder.proj", patches) + positions()
    angles = t.float()[:, None] * (torch.arange(128, dtype=torch.float32) * (-math.log(10_000.0) / 128)).exp()
    times = linear("t_embedder.mlp.0", torch.cat([angles.cos(), angles.sin()], dim=1))
    times = linear("t_embedder.mlp.2", F.silu(times))
    condition = F.silu(times + F.embedding(y, weights["y_embedder.embedding_table.weight"]))
    for block in (f"blocks.{number}" for number in range(DEPTH)):
        six = linear(f"{block}.adaLN_modulation.1", condition).view(-1, 6, 1, WIDTH)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = six.unbind(1)
        qkv = linear(f"{block}.attn.qkv", modulated(tokens, shift, scale)).view(BATCH, GRID**2, 3, HEADS, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        tokens = torch.addcmul(tokens, gate, linear(f"{block}.attn.proj", attended))
        inner = F.gelu(linear(f"{block}.mlp.fc1", modulated(tokens, shift_mlp, scale_mlp)), approximate="tanh")
        tokens = torch.addcmul(tokens, gate_mlp, linear(f"{block}.mlp.fc2", inner))
    shift, scale = linear("final_layer.adaLN_modulation.1", condition).view(-1, 2, 1, WIDTH).unbind(1)
    pixels = linear("final_layer.linear", modulated(tokens, shift, scale)).view(BATCH, GRID, GRID, PATCH, PATCH, -1)
    return pixels.permute(0, 5, 1, 3, 2, 4).reshape(BATCH, -1, SIDE, SIDE)


def positions() -> Tensor:
    """Sinusoids of columns, then of rows."""
    angles = np.arange(GRID)[:, None] * 10_000.0 ** (-4 * np.arange(WIDTH // 4) / WIDTH)
    line = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return torch.tensor(np.concatenate([np.tile(line, (GRID, 1)), np.repeat(line, GRID, axis=0)], axis=1)).float()[None]
