"""What a device is and can do: execution, timing, memory errors, energy, peaks, environment."""
