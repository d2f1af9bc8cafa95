"""Bad input of every kind ends in a message that names it, with exit code 2, and nothing is lost."""

import hashlib
import io
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from damage import (
    MANIFEST,
    PICKLE,
    SHARD,
    Damage,
    Planted,
    array,
    arrays,
    both,
    config,
    cut,
    edit,
    empty_folder,
    flip,
    lose,
    nothing,
    resealed,
    shard_of,
    write,
)
from dit_scaling.cli import main
from jobs import EVALUATION, FIRST_OUTPUT, RESULTS, SCRIPTS, STEP, SmallStudy, job_of, run_job
from pipeline import snakemake


class Bad(NamedTuple):
    name: str
    damage: Damage
    entry: str
    """`dit-scaling ...` and `snakemake ...` are command lines, `job RULE` a job, `script NAME ...` a script alone."""
    words: tuple[str, ...]
    """What the message must hold."""


CHECK = "dit-scaling check study.yaml"
CLAIMS = "dit-scaling claims table.csv"
GIVEN_VAE = {
    "vae": {"source": "pretrained", "path": "given", "latent_channels": 2, "downsampling": 2},
}
HEADER = "variant,size,patch,params_m,gflops,fid50k\n"
TABLE = HEADER + "DiT-S/2,S,2,33,6.1,68.4\nDiT-B/2,B,2,130,23.0,43.5\n"
IMAGE = "images/dark/05.png"
PART = f"{EVALUATION}/samples/part-00000.npz"
KEPT = f"{EVALUATION}/features/classifier"
CHECKPOINT = f"{STEP}/ema.safetensors"
VAE = f"{RESULTS}/vae/autoencoder"
FACTS = f"{RESULTS}/latents/train-00000.json"
REFERENCE = f"{RESULTS}/reference/classifier"
LABEL = b'{"label": 0, "source": "x"}'
LATENT = np.zeros((2, 4, 8, 8), np.float16)


def npy(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    return stream.getvalue()


def weights(file: str, change: Callable[[dict[str, torch.Tensor]], object], header: str | None = None) -> Damage:
    """Change tensors, or our header, of a safetensors file."""

    def damage(folder: Path) -> None:
        with safe_open(folder / file, "pt") as stored:
            metadata = stored.metadata()
        tensors = {name: tensor.clone() for name, tensor in load_file(folder / file).items()}
        change(tensors)
        save_file(tensors, folder / file, metadata=metadata if header is None else {**metadata, "dit_scaling": header})

    return damage


def given_vae(damage: Damage, **data: Any) -> Damage:
    """The study's autoencoder as a given one, and what is wrong with it."""

    def copy(folder: Path) -> None:
        shutil.copytree(folder / VAE, folder / "given")

    return both(copy, damage, config({**GIVEN_VAE, **{f"data.{key}": value for key, value in data.items()}}))


def not_a_number(file: str) -> Damage:
    return weights(file, lambda tensors: [t.fill_(float("nan")) for t in tensors.values() if t.is_floating_point()])


def huge_png() -> bytes:
    """A PNG whose header promises 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


CONFIGS = [
    Bad("config missing", lose("study.yaml"), CHECK, ("study.yaml", "does not exist")),
    Bad("config is a folder", empty_folder("folder"), "dit-scaling check folder", ("folder", "cannot be read")),
    Bad("config empty", write("study.yaml", ""), CHECK, ("study.yaml", "no mapping")),
    Bad("config is a list", write("study.yaml", "[1, 2]"), CHECK, ("study.yaml", "no mapping")),
    Bad("config not YAML", write("study.yaml", "a: ["), CHECK, ("study.yaml", "not valid YAML", "line 1")),
    Bad("config binary", write("study.yaml", b"\xff\xfe\x00"), CHECK, ("study.yaml", "cannot be read")),
    Bad("config nested without end", write("study.yaml", "[" * 1200), CHECK, ("study.yaml", "not valid YAML")),
    Bad(
        "config runs code",
        write("study.yaml", "study: !!python/object/apply:os.mkdir [unpickled]"),
        CHECK,
        ("study.yaml", "not valid YAML", "python/object"),
    ),
    Bad("key unknown", config({"training.lerning_rate": 1.0}), CHECK, ("training.lerning_rate", "unknown key")),
    Bad("key missing", config({"training.steps": ...}), CHECK, ("training.steps", "required")),
    Bad("section missing", config({"sampling": ...}), CHECK, ("sampling", "required")),
    Bad("section is a number", config({"training": 3}), CHECK, ("training", "got 3")),
    Bad("number as text", config({"training.learning_rate": "1e-4"}), CHECK, ("learning_rate", "1e-4", "1.0e-4")),
    Bad("number negative", config({"training.learning_rate": -1.0}), CHECK, ("learning_rate", "greater than 0")),
    Bad("number NaN", config({"training.learning_rate": float("nan")}), CHECK, ("training.learning_rate",)),
    Bad("number infinite", config({"training.learning_rate": float("inf")}), CHECK, ("training.learning_rate",)),
    Bad("count zero", config({"training.steps": 0}), CHECK, ("training.steps", "got 0")),
    Bad("count fractional", config({"training.steps": 10.5}), CHECK, ("training.steps", "10.5")),
    Bad("count is true", config({"training.steps": True}), CHECK, ("training.steps", "True")),
    Bad("milestone too late", config({"training.milestones": [9]}), CHECK, ("milestones", "9", "last step 4")),
    Bad("no seeds", config({"training.seeds": []}), CHECK, ("training.seeds",)),
    Bad("seed twice", config({"training.seeds": [1, 1]}), CHECK, ("training.seeds", "twice")),
    Bad("precision unknown", config({"training.precision": "float16"}), CHECK, ("training.precision", "float16")),
    Bad("probability above 1", config({"training.class_dropout_prob": 1.5}), CHECK, ("class_dropout_prob", "1.5")),
    Bad("size not divisible", config({"data.image_size": 15}), CHECK, ("data.image_size", "15", "factor 2")),
    Bad("groups do not divide", config({"vae.norm_groups": 3}), CHECK, ("vae.norm_groups", "3")),
    Bad("patch does not divide", config({"variants": ["DiT-Nano/3"]}), CHECK, ("DiT-Nano/3", "patch 3")),
    Bad("size unknown", config({"variants": ["DiT-Giga/2"]}), CHECK, ("Giga", "size table")),
    Bad("variant misspelt", config({"variants": ["DiT-Nano-2"]}), CHECK, ("variants.0", "DiT-Nano-2")),
    Bad("variant twice", config({"variants": ["DiT-Nano/2"] * 2}), CHECK, ("variants", "twice")),
    Bad("variant climbs out", config({"variants": ["../etc/2"]}), CHECK, ("variants.0", "../etc/2")),
    Bad("heads do not divide", config({"sizes.Nano.num_heads": 5}), CHECK, ("sizes.Nano", "num_heads 5")),
    Bad(
        "paper's size redefined",
        config({"sizes.S": {"depth": 1, "hidden_size": 8, "num_heads": 1}}),
        CHECK,
        ("sizes.S",),
    ),
    Bad("more sampling steps than steps", config({"sampling.steps": 2000}), CHECK, ("sampling.steps", "2000")),
    Bad("more parts than samples", config({"sampling.parts": 90}), CHECK, ("sampling.parts", "90")),
    Bad("subset above samples", config({"metrics.kid_subset_size": 40}), CHECK, ("kid_subset_size", "40", "12")),
    Bad("extractor unknown", config({"metrics.extractor.kind": "clip"}), CHECK, ("metrics.extractor", "clip")),
    Bad("bottleneck unknown", config({"claims.bottlenecks": {"DiT-S/2": "x"}}), CHECK, ("bottlenecks", "DiT-S/2")),
    Bad("device unknown", config({"resources.device": "tpu"}), CHECK, ("resources.device", "tpu")),
    Bad("study climbs out", config({"study": "../elsewhere"}), CHECK, ("study", "../elsewhere")),
    Bad("study is a command", config({"study": "a; rm -r b"}), CHECK, ("study", "a; rm -r b")),
    Bad("images missing", config({"data.path": "pictures"}), CHECK, ("data.path", "pictures")),
    Bad("images without classes", empty_folder("images"), CHECK, ("data.path", "no class folders")),
    Bad("other number of classes", config({"data.classes": 3}), CHECK, ("data.classes", "3", "2 class folders")),
    Bad(
        "config to snakemake",
        config({"training.steps": "many"}),
        "snakemake --cores 1",
        ("study.yaml, line ", "training.steps", "many"),
    ),
    Bad(
        "images missing to snakemake",
        config({"data.path": "pictures"}),
        "snakemake --cores 1",
        ("study.yaml, line ", "data.path", "pictures"),
    ),
    Bad("VAE missing to snakemake", config(GIVEN_VAE), "snakemake --cores 1", ("given",)),
]

COMMANDS = [
    Bad("command unknown", nothing, "dit-scaling nonsense", ("nonsense",)),
    Bad("argument missing", nothing, "dit-scaling export-samples", ("Missing argument",)),
    Bad("option unknown", nothing, "dit-scaling check study.yaml --fast", ("--fast",)),
    Bad(
        "option not a number",
        write("table.csv", TABLE),
        f"{CLAIMS} --decoded-noise many",
        ("--decoded-noise", "valid number"),
    ),
    Bad("option out of range", write("table.csv", TABLE), f"{CLAIMS} --decoded-noise -1", ("decoded_noise",)),
    Bad("option infinite", write("table.csv", TABLE), f"{CLAIMS} --decoded-noise inf", ("decoded_noise",)),
    Bad("schema stale", write("s.json", b"\xff"), "dit-scaling schema s.json --check", ("s.json", "not the schema")),
    Bad("script without a file", nothing, "script score_samples", ("FILE",)),
    Bad(
        "script and a file of no rule",
        nothing,
        "script score_samples none.json --configfile study.yaml",
        ("none.json",),
    ),
    Bad(
        "script of another rule",
        nothing,
        f"script score_samples {FIRST_OUTPUT['data']} --configfile study.yaml",
        ("made by data.py, not by score_samples.py",),
    ),
    Bad(
        "script without its inputs",
        lose(f"{KEPT}/features.json"),
        f"script score_samples {FIRST_OUTPUT['score_samples']} --configfile study.yaml",
        (f"{KEPT}/features.json", "does not exist"),
    ),
]

IMAGES = [
    Bad("image is text", write(IMAGE, "not an image"), "job encode_shard", (IMAGE, "cannot be read as an image")),
    Bad("image empty", write(IMAGE, b""), "job encode_shard", (IMAGE,)),
    Bad("image truncated", cut(IMAGE), "job encode_shard", (IMAGE, "cannot be read as an image")),
    Bad(
        "image absurdly large",
        write(IMAGE, huge_png()),
        "job encode_shard",
        (IMAGE, "100000 x 100000 pixels", "DIT_SCALING_MOST_PIXELS sets another limit"),
    ),
    Bad(
        "image bad in the VAE's training",
        both(*(cut(f"images/{c}/{n:02d}.png") for c in ("dark", "light") for n in range(20))),
        "job vae",
        ("images/", "cannot be read"),
    ),
    Bad("class without images", empty_folder("images/dark"), "job data", ("images/dark", "no images")),
    Bad("more held out than images", config({"data.held_out": 40}), "job data", ("data.held_out", "40")),
    Bad("more shards than images", config({"latents.shards": 31}), "job encode_shard", ("latents.shards", "31")),
]

AUTOENCODERS = [
    Bad(
        "VAE without config",
        given_vae(lose("given/config.json")),
        f"script vae {FIRST_OUTPUT['vae']} --configfile study.yaml",
        ("given/config.json", "does not exist"),
    ),
    Bad("VAE of another kind", given_vae(write("given/config.json", "{}")), "job vae", ("not a diffusers",)),
    Bad("VAE truncated", given_vae(cut("given/diffusion_pytorch_model.safetensors")), "job vae", ("given",)),
    Bad(
        "VAE gives NaN",
        given_vae(not_a_number("given/diffusion_pytorch_model.safetensors")),
        "job vae",
        ("given", "NaN"),
    ),
    Bad("VAE for grey, images in colour", given_vae(nothing, channels=3), "job vae", ("data.channels: 3", "1 channel")),
    Bad(
        "VAE pickled",
        given_vae(
            both(lose("given/diffusion_pytorch_model.safetensors"), write("given/diffusion_pytorch_model.bin", PICKLE))
        ),
        "job vae",
        ("given",),
    ),
    Bad("VAE's record empty", write(f"{RESULTS}/vae/vae.json", "{}"), "job encode_shard", ("vae.json", "no record")),
    Bad("VAE's record torn", cut(f"{RESULTS}/vae/vae.json"), "job sample_part", ("vae.json", "not valid JSON")),
    Bad(
        "VAE's weights replaced",
        not_a_number(f"{VAE}/diffusion_pytorch_model.safetensors"),
        "job encode_shard",
        ("vae.json", "not those"),
    ),
]

LATENTS = [
    Bad("shard missing", lose(SHARD), "job train_milestone", (SHARD, "missing")),
    Bad("shard truncated", cut(SHARD), "job train_milestone", (SHARD, "truncated or altered")),
    Bad("shard altered", flip(SHARD, 3000), "job train_milestone", (SHARD, "truncated or altered")),
    Bad("shard empty", write(SHARD, b""), "job train_milestone", (SHARD, "truncated or altered")),
    Bad(
        "shard of other images",
        shard_of(("0.json", LABEL), ("0.latent.npy", npy(LATENT))),
        "job train_milestone",
        (SHARD, "holds 1 image"),
    ),
    Bad(
        "shard's member climbs out",
        shard_of(("../../0.json", LABEL), ("../../0.latent.npy", npy(LATENT))),
        "job train_milestone",
        (SHARD, "'../../0.json'"),
    ),
    Bad(
        "shard's member absolute",
        shard_of(("/tmp/0.json", LABEL), ("/tmp/0.latent.npy", npy(LATENT))),
        "job train_milestone",
        (SHARD, "'/tmp/0.json'"),
    ),
    Bad(
        "shard's member pickled",
        shard_of(("0.json", LABEL), ("0.latent.npy", npy(np.array([Planted()], dtype=object)))),
        "job train_milestone",
        (SHARD, "is object"),
    ),
    Bad(
        "shard's member a bare pickle",
        shard_of(("0.json", LABEL), ("0.latent.npy", PICKLE)),
        "job train_milestone",
        (SHARD, "no npy file"),
    ),
    Bad(
        "shard's label broken",
        shard_of(("0.json", b"{"), ("0.latent.npy", npy(LATENT))),
        "job train_milestone",
        (SHARD, "no label"),
    ),
    Bad("manifest missing", lose(MANIFEST), "job train_milestone", (MANIFEST, "does not exist")),
    Bad("manifest torn", cut(MANIFEST), "job train_milestone", (MANIFEST, "not valid JSON")),
    Bad("manifest without a key", edit(MANIFEST, lambda m: m.pop("scale")), "job train_milestone", (MANIFEST, "scale")),
    Bad(
        "manifest edited",
        edit(MANIFEST, lambda m: m.update(scale=9.0)),
        "job train_milestone",
        (MANIFEST, "contradicts itself"),
    ),
    Bad(
        "manifest leads out",
        edit(MANIFEST, lambda m: m["splits"]["train"]["shards"][0].update(file="../x.tar")),
        "job train_milestone",
        (MANIFEST, "leads out"),
    ),
    Bad(
        "manifest's counts wrong",
        edit(MANIFEST, lambda m: m["splits"]["train"].update(count=9)),
        "job train_milestone",
        (MANIFEST, "do not add up"),
    ),
    Bad("shard's facts torn", cut(FACTS), "job latents", (FACTS, "not valid JSON")),
    Bad("shard's facts incomplete", edit(FACTS, lambda facts: facts.pop("sha256")), "job latents", (FACTS, "sha256")),
    Bad(
        "shard's facts of other settings",
        edit(FACTS, lambda facts: facts.update(settings_digest="0")),
        "job latents",
        (FACTS, "other settings"),
    ),
    Bad(
        "shard's facts of another VAE",
        edit(FACTS, lambda facts: facts.update(vae_sha256="0" * 64)),
        "job latents",
        (FACTS, "another autoencoder"),
    ),
]

CHECKPOINTS = [
    Bad("checkpoint missing", lose(CHECKPOINT), "job sample_part", (CHECKPOINT, "does not exist")),
    Bad("checkpoint truncated", cut(CHECKPOINT), "job sample_part", (CHECKPOINT, "cannot be read as a checkpoint")),
    Bad("checkpoint is text", write(CHECKPOINT, "weights"), "job sample_part", (CHECKPOINT, "cannot be read")),
    Bad("checkpoint is a pickle", write(CHECKPOINT, PICKLE), "job sample_part", (CHECKPOINT, "cannot be read")),
    Bad(
        "checkpoint lacks a weight",
        weights(CHECKPOINT, lambda tensors: tensors.pop("pos_embed")),
        "job sample_part",
        (CHECKPOINT, "pos_embed is missing"),
    ),
    Bad(
        "checkpoint misshapen",
        weights(CHECKPOINT, lambda tensors: tensors.update(pos_embed=torch.zeros(1))),
        "job sample_part",
        (CHECKPOINT, "pos_embed has shape"),
    ),
    Bad(
        "checkpoint of another version",
        weights(CHECKPOINT, lambda _: None, header="{}"),
        "job sample_part",
        (CHECKPOINT, "header"),
    ),
    Bad("checkpoint of NaN", not_a_number(CHECKPOINT), "job sample_part", (CHECKPOINT, "NaN")),
]

SAMPLES = [
    Bad("samples missing", lose(PART), "job extract_features", (PART,)),
    Bad("samples truncated", cut(PART), "job extract_features", (PART, "no whole part")),
    Bad(
        "samples are one array",
        array(PART, np.zeros((12, 16, 16, 1), np.uint8)),
        "job extract_features",
        (PART, "no whole part"),
    ),
    Bad(
        "samples pickled",
        arrays(PART, arr_0=np.array([Planted()], dtype=object)),
        "job extract_features",
        (PART, "no whole part"),
    ),
    Bad(
        "samples without labels",
        arrays(PART, arr_1=np.zeros(3, np.int64)),
        "job extract_features",
        (PART, "do not match"),
    ),
    Bad(
        "samples in colour",
        arrays(PART, arr_0=np.zeros((12, 16, 16, 3), np.uint8)),
        "job extract_features",
        ("(16, 16, 3)", "(16, 16, 1)"),
    ),
    Bad(
        "feature network's record a list",
        write(f"{REFERENCE}/extractor.json", "[]"),
        "job extract_features",
        ("extractor.json",),
    ),
    Bad(
        "feature network truncated",
        cut(f"{REFERENCE}/classifier.safetensors"),
        "job extract_features",
        ("classifier.safetensors",),
    ),
    Bad(
        "feature network of another shape",
        weights(f"{REFERENCE}/classifier.safetensors", lambda tensors: tensors.pop("head.bias")),
        "job extract_features",
        ("classifier.safetensors", "head.bias"),
    ),
    Bad(
        "feature network's header broken",
        weights(f"{REFERENCE}/classifier.safetensors", lambda _: None, header="{"),
        "job extract_features",
        ("classifier.safetensors",),
    ),
    Bad(
        "feature network of NaN",
        not_a_number(f"{REFERENCE}/classifier.safetensors"),
        "job extract_features",
        ("has changed since",),
    ),
    Bad(
        "moments are text",
        write(f"{REFERENCE}/moments.npz", "none"),
        "job score_samples",
        ("moments.npz", "cannot be read"),
    ),
    Bad(
        "moments of NaN",
        arrays(f"{REFERENCE}/moments.npz", mu=np.full(4, np.nan)),
        "job score_samples",
        ("moments.npz", "mu holds NaN"),
    ),
    Bad(
        "moments of other features",
        arrays(f"{REFERENCE}/moments.npz", features="inception"),
        "job score_samples",
        ("moments.npz", "inception"),
    ),
    Bad("reference features empty", write(f"{REFERENCE}/features.npy", b""), "job score_samples", ("features.npy",)),
    Bad(
        "reference features pickled",
        array(f"{REFERENCE}/features.npy", np.array([Planted()], dtype=object)),
        "job score_samples",
        ("features.npy",),
    ),
    Bad(
        "reference features of another width",
        array(f"{REFERENCE}/features.npy", np.zeros((9, 3), np.float32)),
        "job score_samples",
        ("features.npy",),
    ),
    Bad("kept features missing", lose(f"{KEPT}/features.npy"), "job score_samples", (f"{KEPT}/features.npy",)),
    Bad("kept features truncated", cut(f"{KEPT}/features.npy"), "job score_samples", (f"{KEPT}/features.npy",)),
    Bad(
        "kept features of fewer images",
        array(f"{KEPT}/features.npy", np.zeros((9, 4), np.float32)),
        "job score_samples",
        (f"{KEPT}/features.json", "--forcerun features"),
    ),
    Bad(
        "kept features of NaN",
        array(f"{KEPT}/features.npy", np.full((12, 4), np.nan, np.float32)),
        "job score_samples",
        ("not finite",),
    ),
    Bad(
        "kept labels pickled",
        arrays(f"{KEPT}/labels.npz", labels=np.array([Planted()], dtype=object)),
        "job score_samples",
        (f"{KEPT}/labels.npz",),
    ),
    Bad(
        "record of features empty",
        write(f"{KEPT}/features.json", "{}"),
        "job score_samples",
        (f"{KEPT}/features.json", "--forcerun features"),
    ),
    Bad(
        "features of a level torn",
        write(f"{REFERENCE}/held_out/moments.npz", b""),
        "job levels",
        ("held_out/moments.npz",),
    ),
]

TABLES = [
    Bad("table missing", nothing, CLAIMS, ("table.csv", "does not exist")),
    Bad("table is a folder", empty_folder("table.csv"), CLAIMS, ("table.csv", "cannot be read")),
    Bad("table empty", write("table.csv", ""), CLAIMS, ("table.csv",)),
    Bad("table without rows", write("table.csv", HEADER), CLAIMS, ("table.csv", "no rows")),
    Bad("table binary", write("table.csv", b"\xff\xfe\x00\x01"), CLAIMS, ("table.csv", "no table")),
    Bad(
        "table ragged", write("table.csv", TABLE + "DiT-L/2,L,2,458,80.7,27.2,9,9\n"), CLAIMS, ("table.csv", "no table")
    ),
    Bad(
        "table is a broken Parquet",
        write("table.parquet", "PAR1"),
        "dit-scaling claims table.parquet",
        ("table.parquet",),
    ),
    Bad("table is a pickle", write("table.parquet", PICKLE), "dit-scaling claims table.parquet", ("table.parquet",)),
    Bad("table lacks a column", write("table.csv", TABLE.replace("gflops", "flops")), CLAIMS, ("table.csv", "gflops")),
    Bad(
        "table lacks a metric", write("table.csv", TABLE.replace("fid50k", "loss")), CLAIMS, ("table.csv", "no metric")
    ),
    Bad(
        "table has two metrics",
        write("table.csv", TABLE.replace("fid50k", "fid,fd_x").replace("68.4", "68.4,1").replace("43.5", "43.5,1")),
        CLAIMS,
        ("several metrics",),
    ),
    Bad("metric unknown", write("table.csv", TABLE), f"{CLAIMS} --metric is", ("no column 'is'",)),
    Bad(
        "metric is no metric",
        write("table.csv", TABLE),
        f"{CLAIMS} --metric variant",
        ("'variant' is what a row is of",),
    ),
    Bad("metric is text", write("table.csv", TABLE.replace("43.5", "good")), CLAIMS, ("fid50k", "row 2", "good")),
    Bad("metric NaN", write("table.csv", TABLE.replace("43.5", "nan")), CLAIMS, ("fid50k", "row 2", "DiT-B/2")),
    Bad("metric infinite", write("table.csv", TABLE.replace("43.5", "inf")), CLAIMS, ("fid50k", "row 2")),
    Bad("metric negative", write("table.csv", TABLE.replace("43.5", "-1")), CLAIMS, ("fid50k", "not positive")),
    Bad("patch not whole", write("table.csv", TABLE.replace("B,2,", "B,1.5,")), CLAIMS, ("patch", "row 2")),
    Bad("variant empty", write("table.csv", TABLE.replace("DiT-B/2,", ",")), CLAIMS, ("variant", "empty", "row 2")),
    Bad("run twice", write("table.csv", TABLE + "DiT-S/2,S,2,33,6.1,70\n"), CLAIMS, ("more than one row", "DiT-S/2")),
    Bad(
        "one variant, two costs",
        write("table.csv", "seed," + HEADER + "0,DiT-S/2,S,2,33,6.1,70\n1,DiT-S/2,S,2,33,7,71\n"),
        CLAIMS,
        ("DiT-S/2", "more than one gflops"),
    ),
    Bad(
        "numbers of samples mixed",
        write("table.csv", "n_samples," + HEADER + "9,DiT-S/2,S,2,33,6.1,70\n8,DiT-B/2,B,2,130,23,44\n"),
        CLAIMS,
        ("n_samples", "mixes"),
    ),
]

RECORDS = [
    Bad("metrics torn", write(f"{EVALUATION}/metrics.json", "{"), "job aggregate", ("metrics.json", "not valid JSON")),
    Bad(
        "metrics of other features",
        write(f"{EVALUATION}/metrics.json", '{"fid": 3}'),
        "job aggregate",
        ("metrics.json", "fd_classifier4"),
    ),
    Bad(
        "metric is a word",
        edit(f"{EVALUATION}/metrics.json", lambda record: record.update(fd_classifier4="low")),
        "job aggregate",
        ("fd_classifier4", "DiT-Nano/2"),
    ),
    Bad("levels empty", write(f"{REFERENCE}/levels.json", "{}"), "job aggregate", ("levels.json",)),
    Bad(
        "levels of NaN",
        edit(
            f"{REFERENCE}/levels.json",
            lambda record: record["levels"]["decoded_noise"].update(fd_classifier4=float("nan")),
        ),
        "job aggregate",
        ("decoded_noise",),
    ),
    Bad(
        "training's provenance empty",
        write(f"{STEP}/provenance.json", "{}"),
        "job aggregate",
        (f"{STEP}/provenance.json",),
    ),
    Bad(
        "trained on other latents", write(MANIFEST, "{}"), "job aggregate", (f"{STEP}/provenance.json", "other latents")
    ),
    Bad("training log torn", write(f"{STEP}/metrics.jsonl", '{"step": 1'), "job aggregate", ("metrics.jsonl",)),
    Bad(
        "training log of other lines",
        write(f"{STEP}/metrics.jsonl", '{"loss": 1}'),
        "job aggregate",
        ("metrics.jsonl",),
    ),
    Bad("all metrics broken", write(f"{RESULTS}/metrics.parquet", "none"), "job report", ("metrics.parquet",)),
    Bad("verdicts of another kind", write(f"{RESULTS}/claims.json", '{"claims": [1]}'), "job report", ("claims.json",)),
    Bad("picture broken", write(f"{RESULTS}/vae/reconstructions.png", "none"), "job report", ("reconstructions.png",)),
    Bad("facts of the data a list", write(f"{RESULTS}/data/data.json", "[]"), "job report", ("data.json",)),
]

ROWS = [*CONFIGS, *COMMANDS, *IMAGES, *AUTOENCODERS, *LATENTS, *CHECKPOINTS, *SAMPLES, *TABLES, *RECORDS]


def test_at_least_sixty_kinds_are_tried() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 60


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_bad_input_is_a_message_and_code_2_and_nothing_is_lost(
    row: Bad,
    small_study: SmallStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(small_study.folder, tmp_path / "study")
    monkeypatch.chdir(folder)
    config_before = (folder / "study.yaml").read_text()
    row.damage(folder)
    resealed(folder)
    kind, *arguments = row.entry.split()
    if kind == "job":
        (rule,) = arguments
        same = (folder / "study.yaml").read_text() == config_before
        job = small_study.jobs[rule] if same else job_of(rule)
        for output in map(Path, job.output):
            output.unlink(missing_ok=True)  # as Snakemake does
        before = contents(folder)
        code = run_job(rule, job)
    else:
        before = contents(folder)
        code = {"dit-scaling": command, "script": script, "snakemake": whole_study}[kind](arguments)
    captured = capsys.readouterr()
    message = " ".join((captured.out + captured.err).split())
    assert code == 2, message
    assert "Traceback" not in message
    assert [word for word in row.words if word not in message] == [], message
    assert contents(folder) == before
    assert not list(folder.rglob(".tmp-*"))
    assert not Path("unpickled").exists()


def contents(folder: Path) -> dict[Path, str]:
    """Digest of every file but logs, records of jobs, Snakemake's own and the indices kept beside shards."""
    files = (path for path in folder.rglob("*") if path.is_file())
    left_out = {"logs", ".jobs", ".snakemake", ".cache", ".seals"}
    return {
        file: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if not left_out & set(file.parts) and not file.name.endswith(".idx.npz")
    }


def command(arguments: list[str]) -> int:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["dit-scaling", *arguments])
        main()
    return int(end.value.code or 0)


def script(arguments: list[str]) -> int:
    name, *rest = arguments
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(SCRIPTS / f"{name}.py"), *rest])
        return run_job(name)


def whole_study(arguments: list[str]) -> int:
    run = snakemake(Path.cwd(), *arguments, config=Path("study.yaml"))
    sys.stderr.write(run.stdout + run.stderr)
    return run.returncode
