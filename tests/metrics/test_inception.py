"""The Inception path, without the weights: a TorchScript file of clean-fid's interface with random weights, against
torch-fidelity's network with the same weights."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch_fidelity import feature_extractor_inceptionv3 as fidelity
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json, sha256_file, write_json
from dit_scaling.config.image_settings import Mnist
from dit_scaling.config.metrics_settings import CleanExtractor, InceptionExtractor
from dit_scaling.config.stages import DataSettings, ExtractorSettings
from dit_scaling.metrics import inception
from dit_scaling.metrics.extractors import make_extractor, open_extractor
from dit_scaling.metrics.inception import INCEPTION_FILE, resize_as_tensorflow

CPU = torch.device("cpu")
# torch-fidelity's names of the layers, in the order of the TorchScript file's.
NAMES = {
    "conv": "Conv2d_1a_3x3",
    "conv_1": "Conv2d_2a_3x3",
    "conv_2": "Conv2d_2b_3x3",
    "pool0": None,
    "conv_3": "Conv2d_3b_1x1",
    "conv_4": "Conv2d_4a_3x3",
    "pool1": None,
    "mixed": "Mixed_5b",
    "mixed_1": "Mixed_5c",
    "mixed_2": "Mixed_5d",
    "mixed_3": "Mixed_6a",
    "mixed_4": "Mixed_6b",
    "mixed_5": "Mixed_6c",
    "mixed_6": "Mixed_6d",
    "mixed_7": "Mixed_6e",
    "mixed_8": "Mixed_7a",
    "mixed_9": "Mixed_7b",
    "mixed_10": "Mixed_7c",
}


class ScriptInception(nn.Module):
    """The interface of inception-2015-12-05.pt: resizing, layers and output of 0..255 pixels in one script module."""

    def __init__(self) -> None:
        super().__init__()
        block, pool = fidelity.BasicConv2d, nn.MaxPool2d(3, stride=2)
        layers = (
            *(block(3, 32, kernel_size=3, stride=2), block(32, 32, kernel_size=3)),
            *(block(32, 64, kernel_size=3, padding=1), pool),
            *(block(64, 80, kernel_size=1), block(80, 192, kernel_size=3), pool),
            *(fidelity.InceptionA(192, 32), fidelity.InceptionA(256, 64), fidelity.InceptionA(288, 64)),
            *(fidelity.InceptionB(288), *(fidelity.InceptionC(768, width) for width in (128, 160, 160, 192))),
            *(fidelity.InceptionD(768), fidelity.InceptionE_1(1280), fidelity.InceptionE_2(2048)),
        )
        self.layers = nn.Sequential(OrderedDict(zip(NAMES, layers, strict=True)))
        self.layers.mixed_6.conv = self.layers.mixed_6.branch1x1
        self.layers.add_module("pool2", nn.AvgPool2d(8))
        self.output = nn.Linear(2048, 1008)

    def forward(self, img: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        # TensorFlow 1: row i of 299 lies at i * H / 299 of H rows.
        x = img.float()
        for dim in (2, 3):
            size = x.shape[dim]
            at = torch.arange(299) * (size / 299)
            low = at.floor().long()
            weight = (at - low).reshape([299, 1] if dim == 2 else [1, 299])
            high = (low + 1).clamp(max=size - 1)
            x = x.index_select(dim, low) * (1 - weight) + x.index_select(dim, high) * weight
        features = self.layers((x - 128) / 128).reshape(-1, 2048)
        if return_features:
            return features
        logits = features @ self.output.weight.t() if no_output_bias else self.output(features)
        return logits.softmax(1)


@pytest.fixture(scope="module")
def network() -> ScriptInception:
    torch.manual_seed(0)
    network = ScriptInception().eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, std=0.1)
    return network


@pytest.fixture(scope="module")
def weights(network: ScriptInception, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / INCEPTION_FILE
    torch.jit.script(network).save(str(path))
    return path


@pytest.fixture(scope="module")
def oracle(network: ScriptInception, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """torch-fidelity's network with the weights of ours."""
    state = {f"fc.{key}": value for key, value in network.output.state_dict().items()}
    for ours, theirs in NAMES.items():
        layer = network.layers.get_submodule(ours).state_dict()
        state |= {f"{theirs}.{key}": value for key, value in layer.items() if not key.startswith("conv.conv")}
    for key in [key for key in state if key.startswith("Mixed_6d.conv.")]:
        del state[key]
    path = tmp_path_factory.mktemp("oracle") / "weights.pth"
    torch.save(state, path)
    return fidelity.FeatureExtractorInceptionV3("oracle", ["2048", "logits_unbiased"], str(path))


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, 8, 6, 3), dtype=np.uint8)
    return coarse.repeat(9, axis=1).repeat(9, axis=2)  # (2, 72, 54, 3)


def open_as(kind: str, weights: Path, folder: Path) -> Any:
    config = {"inception": InceptionExtractor, "clean": CleanExtractor}[kind](kind=kind, weights=str(weights))
    data = DataSettings(data=Mnist(source="mnist", held_out=100), seed=0, fingerprint="digits")
    make_extractor(ExtractorSettings(extractor=config, data=data), folder / "extractor.json", CPU, weights)
    return open_extractor(folder / "extractor.json", CPU)


@pytest.fixture(scope="module")
def extractor(weights: Path) -> Any:
    return open_as("inception", weights, weights.parent)


@pytest.fixture(scope="module")
def features(extractor: Any, images: NDArray[np.uint8]) -> Any:
    return extractor(images)


@pytest.fixture(scope="module")
def oracles(oracle: Any, images: NDArray[np.uint8]) -> tuple[Tensor, Tensor, Tensor]:
    """torch-fidelity's pool features and logits of the images, and the maps within."""
    seen: list[Tensor] = []
    with oracle.Mixed_6d.branch1x1.register_forward_hook(lambda *call: seen.append(call[2].clone())):
        pool, logits = oracle(torch.from_numpy(images).permute(0, 3, 1, 2))
    return pool, logits, seen[0]


def test_pool_features_and_logits_are_torch_fidelitys(
    weights: Path, extractor: Any, features: Any, oracle: Any, oracles: tuple[Tensor, Tensor, Tensor]
) -> None:
    assert (extractor.name, extractor.dim, extractor.weights_sha256) == ("inception", 2048, sha256_file(weights))
    pool, logits, _ = oracles
    scale = float(pool.abs().max())
    np.testing.assert_allclose(features.values, pool.numpy(), rtol=1e-3, atol=1e-4 * scale)
    assert pool.std(dim=0).mean() > 1e-3 * scale  # the images differ
    # IS takes logits without the bias, which is not zero.
    np.testing.assert_allclose(
        features.values @ extractor.logit_weights.T, logits.numpy(), rtol=1e-3, atol=1e-4 * float(logits.abs().max())
    )
    assert float(oracle.fc.bias.abs().max()) > 0.01


def test_spatial_features_are_adms_layout_of_mixed_6_conv(
    features: Any, oracles: tuple[Tensor, Tensor, Tensor]
) -> None:
    maps = np.moveaxis(oracles[2].numpy(), 1, -1)  # TensorFlow's order: (N, height, width, channel)
    assert maps.shape == (2, 17, 17, 192)
    expected = maps[..., :7].reshape(2, -1)
    assert features.spatial.shape == (2, 2023)
    np.testing.assert_allclose(features.spatial, expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_the_layers_before_both_features_are_computed_once(
    extractor: Any, images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    original = inception.run_layers
    monkeypatch.setattr(
        inception, "run_layers", lambda layers, names, x: called.extend(names) or original(layers, names, x)
    )
    assert extractor(images[:1]).spatial is not None
    assert called == [*inception.BEFORE_MIXED_6, *inception.FROM_MIXED_6]


@pytest.mark.parametrize("size", [(32, 32), (256, 256), (300, 75)])
def test_the_resize_inside_is_tensorflows(size: tuple[int, int]) -> None:
    pixels = torch.randint(0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(0)).float()
    theirs = interpolate_bilinear_2d_like_tensorflow1x(pixels, size=(299, 299), align_corners=False)
    torch.testing.assert_close(resize_as_tensorflow(pixels), theirs, rtol=0, atol=0.02)


@pytest.mark.usefixtures("extractor")
def test_clean_mode_resizes_by_pillow_without_rounding(
    weights: Path, network: ScriptInception, images: NDArray[np.uint8]
) -> None:
    record = weights.with_name("clean.json")
    write_json(record, read_json(weights.with_name("extractor.json")) | {"kind": "clean"})
    extractor = open_extractor(record, CPU)
    features = extractor(images)
    assert (extractor.name, features.spatial, extractor.logit_weights) == ("clean", None, None)
    resized = [
        [
            np.asarray(Image.fromarray(image[:, :, channel].astype(np.float32)).resize((299, 299), Image.BICUBIC))
            for channel in range(3)
        ]
        for image in images
    ]
    pixels = torch.from_numpy(np.array(resized)).clamp(0, 255)
    expected = network.layers((pixels - 128) / 128).flatten(1).numpy()
    np.testing.assert_allclose(features.values, expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_grey_images_are_seen_as_three_equal_channels(extractor: Any, images: NDArray[np.uint8]) -> None:
    grey = images[:1, :, :, :1]
    np.testing.assert_array_equal(extractor(grey).values, extractor(grey.repeat(3, axis=3)).values)


def test_weights_that_changed_after_the_extractor_stage_are_noticed(extractor: Any, weights: Path) -> None:
    record = read_json(weights.with_name("extractor.json"))
    assert record["weights_sha256"] == extractor.weights_sha256 == sha256_file(weights)
    write_json(weights.with_name("older.json"), record | {"weights_sha256": "0" * 64})
    with pytest.raises(UserError, match=rf"{INCEPTION_FILE} has changed since .*older\.json"):
        open_extractor(weights.with_name("older.json"), CPU)


@pytest.mark.parametrize("kind", ["inception", "clean"])
def test_missing_weights_name_the_command_that_gets_them(kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nothing is downloaded at run time")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(UserError, match=rf"{INCEPTION_FILE} does not exist.*dit-scaling prefetch"):
        open_as(kind, tmp_path / INCEPTION_FILE, tmp_path)
    assert not (tmp_path / "extractor.json").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"must be clean-fid's file {INCEPTION_FILE}"):
        open_as("inception", tmp_path / "inception.pt", tmp_path)
    (tmp_path / INCEPTION_FILE).write_bytes(b"not a network")
    with pytest.raises(UserError, match="is not the network it should be"):
        open_as("inception", tmp_path / INCEPTION_FILE, tmp_path)


def test_a_network_that_resizes_otherwise_is_refused(network: ScriptInception, tmp_path: Path) -> None:
    class Other(ScriptInception):
        def forward(self, img: Tensor, return_features: bool = False) -> Tensor:  # noqa: ARG002
            return self.layers((interpolate(img, [299, 299]) - 128) / 128).reshape(-1, 2048)

    other = Other().eval()
    other.load_state_dict(network.state_dict())
    torch.jit.script(other).save(str(tmp_path / INCEPTION_FILE))
    with pytest.raises(UserError, match="layers called one by one give other features"):
        open_as("inception", tmp_path / INCEPTION_FILE, tmp_path)
