"""DINOv2's path, without the weights: torchvision's ViT against timm's, which reads Facebook's checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import sha256_file
from dit_scaling.metrics import dinov2
from dit_scaling.metrics.dinov2 import Dinov2Features, build_vit, preprocess, stretch_positions

CPU = torch.device("cpu")


def timm_vit(image_size: int) -> VisionTransformer:
    """timm's ViT in DINOv2's design, two layers of width 128, with random weights everywhere."""
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=image_size, patch_size=14, embed_dim=128, depth=2, num_heads=2, init_values=1.0, num_classes=0
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


def test_the_network_is_timms_on_the_same_weights() -> None:
    oracle = timm_vit(224)
    pixels = torch.randn((3, 3, 224, 224), generator=torch.Generator().manual_seed(1))
    ours = build_vit(oracle.state_dict())(pixels)
    theirs = oracle(pixels)  # the class token after the last norm
    assert ours.shape == (3, 128)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert (theirs[0] - theirs[1]).abs().max() > 0.01


def test_the_layer_scale_counts() -> None:
    state = timm_vit(224).state_dict()
    pixels = torch.randn((1, 3, 224, 224), generator=torch.Generator().manual_seed(1))
    doubled = {key: 2 * value if key.endswith("gamma") else value for key, value in state.items()}
    assert (build_vit(state)(pixels) - build_vit(doubled)(pixels)).abs().max() > 0.01


def test_positions_are_stretched_by_bicubic_from_37_to_16() -> None:
    table = torch.randn((1, 1 + 37 * 37, 8), generator=torch.Generator().manual_seed(0))
    stretched = stretch_positions(table, 16)
    assert stretched.shape == (1, 1 + 16 * 16, 8)
    torch.testing.assert_close(stretched[:, 0], table[:, 0])
    # Cell i of 16 lies at (i + 0.5) * 37 / 16.1 - 0.5 of 37; cubic convolution with a = -0.75 of its four neighbours.
    grid = table[0, 1:].reshape(37, 37, 8).double().numpy()

    def weights(i: int) -> np.ndarray:
        centre = (i + 0.5) * 37 / 16.1 - 0.5
        row, base = np.zeros(37), int(np.floor(centre))
        for at in range(base - 1, base + 3):
            d = abs(centre - at)
            near = 1.25 * d**3 - 2.25 * d**2 + 1
            far = -0.75 * d**3 + 3.75 * d**2 - 6 * d + 3
            row[min(max(at, 0), 36)] += near if d <= 1 else far
        return row

    matrix = np.stack([weights(i) for i in range(16)])
    expected = np.einsum("ai,bj,ijc->abc", matrix, matrix, grid).reshape(256, 8)
    np.testing.assert_allclose(stretched[0, 1:].numpy(), expected, rtol=1e-4, atol=1e-4)
    # Without DINOv2's 0.1 the table is another one.
    square = table[:, 1:].reshape(1, 37, 37, 8).permute(0, 3, 1, 2)
    plain = F.interpolate(square, size=(16, 16), mode="bicubic").permute(0, 2, 3, 1).reshape(256, 8)
    assert (stretched[0, 1:] - plain).abs().max() > 0.01


def test_preprocessing_is_dgm_evals() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 64, 3), dtype=np.uint8)
    ours = preprocess(images, CPU)
    assert ours.shape == (2, 3, 224, 224)
    for image, normalised in zip(images, ours, strict=True):
        # Pillow's bicubic resize to uint8, ImageNet's mean and deviation.
        resized = np.asarray(Image.fromarray(image).resize((224, 224), Image.BICUBIC), dtype=np.float64) / 255
        expected = (resized - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        np.testing.assert_allclose(normalised.permute(1, 2, 0).numpy(), expected, atol=1e-5)
    # EDM2's faster resize, antialiased bicubic in torch, rounds nothing: within rounding where nothing is clipped.
    mild = np.random.default_rng(0).integers(96, 160, (2, 96, 64, 3), dtype=np.uint8)
    pixels = torch.from_numpy(mild).permute(0, 3, 1, 2).float()
    smooth = F.interpolate(pixels, size=(224, 224), mode="bicubic", antialias=True)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
    assert ((preprocess(mild, CPU) * std + mean) * 255 - smooth).abs().max() < 2


def test_features_of_images_from_a_file_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = timm_vit(518)
    state = oracle.state_dict() | {"mask_token": torch.zeros(1, 128)}  # Facebook's file has it too
    torch.save(state, tmp_path / "vit.pth")
    monkeypatch.setattr(dinov2, "SHAPE", (2, 128, 14))
    extractor = Dinov2Features(tmp_path / "vit.pth", CPU)
    assert extractor.weights_sha256 == sha256_file(tmp_path / "vit.pth")
    grey = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), dtype=np.uint8)
    features = extractor(grey).values
    assert features.shape == (2, 128)
    assert features.dtype == np.float32
    oracle.set_input_size((224, 224))
    oracle.pos_embed = torch.nn.Parameter(stretch_positions(state["pos_embed"], 16))
    with torch.no_grad():
        np.testing.assert_allclose(features, oracle(preprocess(grey, CPU)).numpy(), rtol=1e-3, atol=1e-4)


def test_another_vit_is_not_called_dinov2(tmp_path: Path) -> None:
    torch.save(timm_vit(224).state_dict(), tmp_path / "vit.pth")
    with pytest.raises(UserError, match=r"depth, hidden size and patch are 2, 128, 14; ViT-L/14 has 24, 1024, 14"):
        Dinov2Features(tmp_path / "vit.pth", CPU)


@pytest.mark.parametrize(("content", "words"), [(None, "prefetch"), (b"torn", "is not the network")])
def test_bad_weights_name_the_command_that_gets_them(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "vit.pth").write_bytes(content)
    with pytest.raises(UserError, match=words):
        Dinov2Features(tmp_path / "vit.pth", CPU)
