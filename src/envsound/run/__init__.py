"""What a run is: presets, the pipeline, provenance, and how results are published."""
