"""Result tables as Markdown."""

import pandas as pd


def systems_table(rows: pd.DataFrame) -> str:
    """Return what a codec and its yardsticks measure, from the rows of `codecs.report.measure_systems`.

    The last column is the largest Kolmogorov-Smirnov distance among the six acoustic metrics.
    """
    largest = rows[[name for name in rows if name.startswith("ks_")]].max(axis=1)
    lines = ["| system | log-mel (dB) | recognised | comb | KS |", "|---|---|---|---|---|"]
    for row, ks in zip(rows.itertuples(), largest, strict=True):
        judged = f"{row.recognised:.0%} | {row.comb_share:.1%} | {ks:.2f}"
        lines.append(f"| {row.system} | {row.log_mel_distance:.2f} | {judged} |")
    return "\n".join(lines)
