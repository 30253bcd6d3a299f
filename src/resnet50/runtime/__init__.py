"""What every room stands on: device, processes, files, screen, errors."""
