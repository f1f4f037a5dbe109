"""What was generated beside what is real."""
