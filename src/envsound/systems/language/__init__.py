"""A language model of codes: it writes them one step after the other, as AudioGen and MusicGen do."""
