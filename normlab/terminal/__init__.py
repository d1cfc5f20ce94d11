"""What a terminal shows: numbers, durations, curves and bars as text, commands to paste."""
