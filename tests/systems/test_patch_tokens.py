"""Patch tokens all the way: clips become codes at 18.75 columns/s, a tiny model learns them, and clips come back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.codecs import RATE, noise, tone

from envsound.base.files import write_csv, write_json, write_wav
from envsound.codec import load_codec
from envsound.codec.codes import bitrate, codec_facts, facts_of, load_codes
from envsound.codec.decoder import DecoderConfig, MelDecoder
from envsound.codec.patches import PatchConfig
from envsound.codec.stored import save_patches
from envsound.codec.systems import systems
from envsound.codec.training.code_vectors import fit_patches
from envsound.data.recordings import load_recordings
from envsound.evaluation.copies import copies_of_run
from envsound.run.presets import load_preset
from envsound.systems.sampling import generate_clips, plan_requests
from envsound.systems.soundstorm.listen import Studio
from envsound.systems.soundstorm.system import SoundStormRecipe

PRESETS = Path(__file__).parents[2] / "notebooks" / "presets"
SECONDS = 0.8  # 15 columns
CPU = torch.device("cpu")


@pytest.fixture
def settings(root) -> dict:
    """A preset's values for a codec of 16 codes a band, made of the clips that lie beside it with their csv."""
    rows, clips = [], {"dog": noise, "rain": lambda n, seed: tone(n, 300.0 + 200 * seed)}
    for fold in (1, 2, 3):
        for category, make in clips.items():
            write_wav(root / "clips" / f"{category}{fold}.wav", make(round(SECONDS * RATE), seed=fold), RATE)
            rows.append(f"{category}{fold}.wav,{category},{fold}")
    (root / "clips" / "clips.csv").write_text("\n".join(["filename,category,fold", *rows]))
    sounds = torch.from_numpy(np.stack([make(3 * RATE, seed=0) for make in clips.values()]))
    quantizer = fit_patches([sounds], PatchConfig(codebook_size=16))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = MelDecoder(quantizer.config, DecoderConfig(dim=8, hidden=8, n_blocks=1))
    save_patches(root / "mine.safetensors", quantizer, decoder)
    own = {"codec": str(root / "mine.safetensors"), "codebook_size": 16, "steps_per_level": [2, 1, 1, 1]}
    return load_preset("tiny", PRESETS) | own | {"device": "cpu", "fold": 1, "seed": 0}


def test_clips_become_codes_a_model_learns_them_and_clips_come_back(root, settings):
    recordings, recipe, run = load_recordings("folder", "clips", "clips.csv"), SoundStormRecipe(), Path("run")
    codec = load_codec(settings["codec"], device="cpu")
    assert facts_of(recordings, codec)["codec_bits_per_second"] == bitrate(codec) == 18.75 * 4 * 4
    assert "| frame rate (frames/s) | 18.75 |" in codec_facts(codec)

    table = recipe.prepare(recordings, settings, run)
    assert table["n_frames"].tolist() == [15] * 6 and load_codes(table["codes_file"][0]).shape == (4, 15)
    write_csv(run / "codes.csv", table)
    trained = recipe.train(settings, run, CPU)
    assert set(trained.history["level"].astype(str)) == {"0", "1", "2", "3", "all"}

    system = recipe.load(settings, run, CPU)
    requests = plan_requests(2, 0, system.categories, "", table["seconds"].to_numpy(), 1.0)
    samples = generate_clips(system, requests, run / "samples")
    assert samples["n_frames"].tolist() == [19] * 2 and samples["seconds"].tolist() == [19 / 18.75] * 2
    clip = recordings.load(recordings.table["clip_id"][0])
    assert system.reconstruct(clip).shape == clip.shape
    heard = [one.change(clip[None]) for one in systems({"patches": codec}) if one.codec]
    assert [one.shape for one in heard] == [(1, len(clip))] * 3  # 4, 2 and 1 bands
    write_csv(run / "samples.csv", samples)
    made = settings | {"codec_weights": "", "preset": "tiny"}
    facts = {"codec_hash": codec.content_hash}
    steps = {step: {"parameters": made, "facts": facts} for step in ("01_encode_clips", "02_train_model")}
    write_json(run / "provenance.json", {"steps": steps})
    found = copies_of_run(run, device="cpu", cache_dir=root / "kept")
    copies, rows = found["copies"], found["copies_by_clip"]
    assert found.facts == {"n_versions": 4, "n_generated": 2, "n_with_drawn_codes": 2}
    assert copies["side"].tolist() == ["real", "generated", "chain, copying", "chain, no copying"]
    assert copies["n"].tolist() == [2] * 4 and not rows["share_of"].str.contains("1").any()  # fold 1 is held out
    edits = Studio(system.checkpoint, codec, system.decoding, run).hear_edits(clip, "dog", 2.0)
    assert len(edits) == 7 and (edits["rms"] > 0).all()
