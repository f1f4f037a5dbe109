"""What the codec was meant to reach, what it reached, and what a report found in words."""

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.codec.systems import NOISE, OPUS, OPUS_KBPS, ORIGINAL
from envsound.metrics.acoustic import METRICS as NAMES
from envsound.studies.codec_report.ceiling import ALL
from envsound.studies.codec_report.report import METRICS
from envsound.studies.codec_report.tables import listeners_in

HIGHEST_KS = 0.15
POINTS = 5  # percentage points between the recognised shares of decoded and of real clips
LOWEST_USE = 0.70  # share of each level's codes
YARDSTICK = OPUS.format(12)
YARDSTICKS = {OPUS.format(kbps): f"Opus at {kbps} kbit/s" for kbps in OPUS_KBPS} | {NOISE: "white noise"}
NOT_RUN = "not run here"


def all_levels(systems: pd.DataFrame, codec: str) -> pd.Series:
    """Return the row of systems.csv of a codec with all its levels. Raises InputError when it has none."""
    rows = systems[systems["codec"] == codec]
    if rows.empty:
        raise InputError(f"systems: no row of the codec {codec!r}; expected one of {sorted(set(systems['codec']))}")
    return rows.loc[rows["n_levels"].idxmax()]


def goals(systems: pd.DataFrame, codebook: pd.DataFrame, codec: str, listener: str = "") -> pd.DataFrame:
    """Return goals.csv: the four goals for a codec as it is measured, one row each.

    systems, codebook: as `by_system` and `codebook_use` return them; listener: whose verdict counts, by default the
    first one's. Columns: goal, target (words), value, unit, met ("yes", "no", or "not run here" beside no value).
    """
    own = all_levels(systems, codec)
    listener = listener or next(iter(listeners_in(systems)), "")
    distances = {name: own[f"ks_{name}"] for name in METRICS}
    worst = max(distances, key=lambda name: np.nan_to_num(distances[name], nan=-1.0))
    recognised = float("nan")
    if listener:
        shares = systems.set_index("system")[f"recognised_{listener}"]
        recognised = round(100 * (shares[own["system"]] - shares[ORIGINAL]), 6)
    use = codebook.loc[codebook["codec"] == codec, "used_share"].min()
    opus = systems.loc[systems["system"] == YARDSTICK, "log_mel_distance"]
    distance = own["log_mel_distance"] if len(opus) else float("nan")
    below = f"below {YARDSTICK}" + (f" ({opus.iloc[0]:.2f} dB)" if len(opus) else "")
    heard_by = f" by the listener {listener}" if listener else ""
    rows = [
        (f"largest KS distance of an acoustic metric ({NAMES[worst].label})", f"at most {HIGHEST_KS}",
         distances[worst], "", distances[worst] <= HIGHEST_KS),
        (f"clips recognised{heard_by}, against the originals", f"within {POINTS} points",
         recognised, "points", abs(recognised) <= POINTS),
        ("codes in use of the level that uses fewest", f"above {LOWEST_USE:.0%}",
         round(100 * use, 6), "%", use > LOWEST_USE),
        ("log-mel distance", below, distance, "dB", len(opus) > 0 and distance < opus.iloc[0]),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["goal", "target", "value", "unit", "met"])
    table["met"] = [
        NOT_RUN if pd.isna(value) else "yes" if met else "no"
        for value, met in zip(table["value"], table["met"], strict=True)
    ]
    return table


def findings(systems: pd.DataFrame, ceiling: pd.DataFrame, table: pd.DataFrame, codec: str) -> str:
    """Return Markdown sentences on a report: distance, recognisability, the highest band, the goals met.

    systems, ceiling, table: as `by_system`, `ceiling_table` and `goals` return them.
    """
    own, rows = all_levels(systems, codec), systems.set_index("system")
    yardsticks = [(name, words) for name, words in YARDSTICKS.items() if name in rows.index]
    beside = [f"{rows.loc[name, 'log_mel_distance']:.2f} dB for {words}" for name, words in yardsticks]
    text = f"With all {own['n_levels']} levels, {own['n_clips']} held-out clips come back "
    text += f"**{own['log_mel_distance']:.2f} dB** away ({', '.join(beside)}). "
    for listener in listeners_in(systems)[:1]:
        share, low, high = (own[f"recognised_{listener}{end}"] for end in ("", "_low", "_high"))
        text += f"The listener {listener} names **{share:.0%}** of them rightly (95% interval {low:.0%} to {high:.0%}; "
        text += f"of the originals {rows.loc[ORIGINAL, f'recognised_{listener}']:.0%}). "
    text += _highest_band(ceiling)
    counts = table["met"].value_counts()
    text += f" Goals met: {counts.get('yes', 0)} of {len(table)}"
    return text + (f", {counts[NOT_RUN]} {NOT_RUN}." if NOT_RUN in counts else ".")


def _highest_band(ceiling: pd.DataFrame) -> str:
    rows = ceiling[(ceiling["category"] == ALL) & (ceiling["n_levels"] == ceiling["n_levels"].max())]
    row = rows[rows["band"] != ALL].iloc[-1]
    if not row["n"]:
        return f"No clip has sound at {row['band'].replace('-', ' to ')} Hz."
    return (
        f"At {row['band'].replace('-', ' to ')} Hz the codec alone changes the level by "
        f"**{row['level_difference_db']:+.1f} dB** on average (n = {row['n']:.0f}, {row['n_left_out']:.0f} without "
        "sound there); what a model's clips lack there beyond that is not the codec's doing."
    )
