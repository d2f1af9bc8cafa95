"""Streaming moments against numpy's two-pass ones, and the npz files against what ADM and clean-fid write."""

import io
import pickle
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_scaling.common.errors import UserError
from dit_scaling.metrics.moments import RunningMoments, load_moments, save_moments


def features_of(seed: int, count: int, dim: int = 5, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, dim)) @ rng.standard_normal((dim, dim)) + shift


def running(*batches: np.ndarray) -> RunningMoments:
    moments = RunningMoments(batches[0].shape[1])
    for batch in batches:
        moments.update(batch)
    return moments


def assert_same(first: RunningMoments, second: RunningMoments) -> None:
    assert first.count == second.count
    np.testing.assert_allclose(first.mean, second.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(first.covariance, second.covariance, rtol=1e-11, atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 999), cuts=st.lists(st.integers(0, 40), max_size=6))
def test_any_batching_gives_numpys_moments(seed, cuts):
    features = features_of(seed, 40)
    batches = [features[start:stop] for start, stop in pairwise([0, *sorted(cuts), 40])]
    moments = running(*batches)
    assert moments.count == 40
    np.testing.assert_allclose(moments.mean, features.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(features, rowvar=False), rtol=1e-11, atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), sizes=st.tuples(*[st.integers(1, 30)] * 3))
def test_merge_is_associative_and_commutative(seed, sizes):
    a, b, c = (features_of(seed + part, size + 1) for part, size in enumerate(sizes))
    left, right, swapped = running(a), running(a), running(c)
    left.merge(running(b))
    left.merge(running(c))
    tail = running(b)
    tail.merge(running(c))
    right.merge(tail)
    swapped.merge(running(a, b))
    assert_same(left, right)
    assert_same(left, swapped)
    assert_same(left, running(np.concatenate([a, b, c])))


def test_merging_an_empty_stream_changes_nothing():
    moments, empty = running(features_of(0, 9)), RunningMoments(5)
    moments.merge(RunningMoments(5))
    assert_same(moments, running(features_of(0, 9)))
    empty.merge(moments)
    assert_same(empty, moments)


def test_large_means_cost_no_digits():
    # At a mean of 1e8 and a spread of 1, E[x^2] - E[x]^2 in float64 has no correct digit left.
    features = np.round(features_of(1, 500), 3)
    shifted = running(*np.array_split(features + 1e8, 7))
    np.testing.assert_allclose(shifted.covariance, np.cov(features, rowvar=False), rtol=1e-6, atol=1e-6)
    assert np.abs(shifted.mean - 1e8 - features.mean(axis=0)).max() < 1e-7


def test_float32_and_float16_are_summed_in_float64():
    features = features_of(2, 3000, shift=100.0)
    for dtype in (np.float32, np.float16):
        stored = features.astype(dtype)
        exact = stored.astype(np.float64)
        np.testing.assert_allclose(running(stored).covariance, np.cov(exact, rowvar=False), rtol=1e-10)


def test_moments_are_copies():
    moments = running(features_of(0, 9))
    moments.mean[:] = 0
    moments.covariance[:] = 0
    assert_same(moments, running(features_of(0, 9)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_features_are_refused_by_row_of_the_stream(bad):
    moments = running(features_of(0, 9))
    batch = features_of(1, 6)
    batch[[2, 4], 1] = bad
    with pytest.raises(UserError, match=r"row 11 .* 2 of 6 rows"):
        moments.update(batch)
    assert_same(moments, running(features_of(0, 9)))


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="at least one dimension"):
        RunningMoments(0)
    moments = RunningMoments(5)
    with pytest.raises(ValueError, match=r"shape \(images, dimensions\), not \(5,\)"):
        moments.update(np.zeros(5))
    with pytest.raises(ValueError, match="3 dimensions, these moments have 5"):
        moments.update(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="4 dimensions cannot be merged into 5"):
        moments.merge(RunningMoments(4))
    with pytest.raises(ValueError, match="there is none"):
        _ = moments.mean
    moments.update(np.zeros((1, 5)))
    with pytest.raises(ValueError, match="at least 2 images; there are 1"):
        _ = moments.covariance


def test_file_round_trip_is_exact(tmp_path):
    first = features_of(3, 20)
    path = tmp_path / "new" / "shard.npz"
    save_moments(path, running(first).named("digits-cnn"))
    loaded = load_moments(path)
    assert (loaded.count, loaded.features) == (20, "digits-cnn")
    np.testing.assert_array_equal(loaded.mean, running(first).mean)
    np.testing.assert_array_equal(loaded.covariance, running(first).covariance)
    assert [entry.name for entry in path.parent.iterdir()] == ["shard.npz"]


def test_saving_too_few_images_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="at least 2 images"):
        save_moments(tmp_path / "shard.npz", running(features_of(0, 1)).named("digits-cnn"))
    assert list(tmp_path.iterdir()) == []


def test_adm_reference_is_read_as_it_is(tmp_path):
    path = tmp_path / "VIRTUAL.npz"
    mu, mu_s = np.arange(3, dtype=np.float32), np.arange(4.0)
    np.savez(path, arr_0=np.zeros((2, 8, 8, 3), np.uint8), mu=mu, sigma=np.eye(3), mu_s=mu_s, sigma_s=2 * np.eye(4))
    pooled, spatial = load_moments(path), load_moments(path, spatial=True)
    assert (pooled.count, pooled.features, pooled.mean.dtype) == (None, None, np.float64)
    np.testing.assert_array_equal(pooled.mean, mu)
    np.testing.assert_array_equal(pooled.covariance, np.eye(3))
    np.testing.assert_array_equal(spatial.mean, mu_s)
    np.testing.assert_array_equal(spatial.covariance, 2 * np.eye(4))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3)}, r"no key 'sigma' \(it has: mu\)"),
        ({"arr_0": np.zeros(3)}, r"no key 'mu' \(it has: arr_0\)"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"mu has the shape \(3,\) and sigma \(4, 4\)"),
        ({"mu": np.zeros((1, 3)), "sigma": np.eye(3)}, r"mu has the shape \(1, 3\)"),
        ({"mu": np.array([0, np.nan, 0]), "sigma": np.eye(3)}, "mu holds NaN"),
        ({"mu": np.zeros(3), "sigma": np.full((3, 3), "x")}, "sigma holds NaN, infinity or no numbers"),
        ({"mu": np.zeros(3), "sigma": np.array([[object()]])}, "cannot be read"),
        ({"mu": np.zeros(3), "sigma": np.eye(3), "count": np.arange(2)}, "count must be one whole number"),
        ({"mu": np.zeros(3), "sigma": np.eye(3), "count": 2.5}, "count must be one whole number"),
        ({"mu": np.zeros(3), "sigma": np.eye(3), "count": 1}, "at least 2"),
        ({"mu": np.zeros(3, int), "sigma": np.eye(3)}, "mu holds whole numbers"),
        ({"mu": np.zeros(3), "sigma": np.eye(3, dtype=int)}, "sigma holds whole numbers"),
        ({"mu": np.zeros(3) + 5j, "sigma": np.eye(3)}, "mu holds complex numbers"),
        ({"mu": np.zeros(3), "sigma": np.eye(3) + 0j}, "sigma holds complex numbers"),
        ({"mu": np.zeros(3), "sigma": np.zeros((3, 3))}, "sigma is zero"),
        ({"mu": np.zeros(3), "sigma": np.triu(np.ones((3, 3)))}, "sigma is not symmetric"),
        ({"mu": np.zeros(3), "sigma": np.diag([1.0, 1.0, -0.01])}, "sigma has a negative variance"),
        ({"mu": np.zeros(3), "sigma": -np.eye(3)}, "sigma has a negative variance"),
        ({"mu": np.zeros(3), "sigma": np.eye(3), "image_size": 0.5}, "image_size must be one whole number"),
    ],
)
def test_a_bad_file_is_named_with_its_key(tmp_path, arrays, message):
    path = tmp_path / "reference.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=message) as error:
        load_moments(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_rounded_covariances_of_few_images_are_read(tmp_path, kind):
    """Of fewer images than dimensions: singular, and after rounding with eigenvalues a little below zero."""
    features = np.random.default_rng(0).normal(size=(20, 64)) @ np.diag(np.geomspace(1, 100, 64))
    sigma = np.cov(features.T)
    if kind is np.float16:  # much coarser than any reference that is published
        sigma = sigma + 1e-2 * np.trace(sigma) * np.eye(64)
    np.savez(tmp_path / "few.npz", mu=features.mean(0).astype(kind), sigma=sigma.astype(kind))
    assert load_moments(tmp_path / "few.npz").covariance.dtype == np.float64


def test_a_key_twice_in_a_file_is_refused(tmp_path):
    path = tmp_path / "twice.npz"
    np.savez(path, mu=np.zeros(3), sigma=np.eye(3))
    member = io.BytesIO()
    np.save(member, np.ones(3))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("mu.npy", member.getvalue())
    with pytest.raises(UserError, match=r"twice\.npz holds mu twice"):
        load_moments(path)


@pytest.mark.parametrize("name", ["clean", np.bytes_(b"clean"), np.array(["clean"]), np.array([b"clean"])])
def test_names_are_read_as_they_are_stored(tmp_path, name):
    np.savez(tmp_path / "named.npz", mu=np.zeros(3), sigma=np.eye(3), features=name)
    assert load_moments(tmp_path / "named.npz").features == "clean"


def test_files_that_are_no_npz_are_named(tmp_path):
    path = tmp_path / "reference.npz"
    for content, words in (
        (b"version https://git-lfs.github.com/spec/v1\n", "is no npz but a pointer of Git LFS"),
        (b"<!DOCTYPE html>", "is no npz but a web page"),
        (pickle.dumps({"mu": [0.0]}), "it is no npz of plain numbers"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=words) as error:
            load_moments(path)
        assert "allow_pickle" not in str(error.value)


def test_sfid_needs_the_spatial_keys(tmp_path):
    np.savez(tmp_path / "reference.npz", mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(UserError, match="no key 'mu_s'"):
        load_moments(tmp_path / "reference.npz", spatial=True)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_npz_is_named(tmp_path: Path, content):
    path = tmp_path / "reference.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"reference\.npz cannot be read"):
        load_moments(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_is_named(tmp_path, save):
    path = tmp_path / "reference.npz"
    save(path, mu=np.zeros(64), sigma=np.random.default_rng(0).standard_normal((64, 64)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = b"\xff" * 64
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"reference\.npz cannot be read"):
        load_moments(path)


def test_a_plain_array_or_no_file_is_named(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(UserError, match=r"array\.npy cannot be read"):
        load_moments(tmp_path / "array.npy")
    with pytest.raises(UserError, match=r"absent\.npz does not exist"):
        load_moments(tmp_path / "absent.npz")
