"""Networks and features that say what a sound is."""
