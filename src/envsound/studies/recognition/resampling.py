"""How often each test clip is named rightly, and how much a mean over them would vary with other clips."""


import pandas as pd


def right_table(clips: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each test clip: clip, fold, source, category, and for each recogniser how often it was right.

    The share of seeds, 0 to 1; NaN where a recogniser has not heard the clip.
    """
    keys = ["clip", "fold", "source", "category"]
    shares = clips.assign(is_right=clips["is_right"].astype(float))
    return shares.pivot_table("is_right", keys, "recogniser", aggfunc="mean").reset_index()
