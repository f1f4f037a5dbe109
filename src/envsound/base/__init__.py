"""What everything stands on: errors, files, tensors, names, text, devices."""
