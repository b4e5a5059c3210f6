"""Where the compiled parts of a wheel come from: a file for each lane."""
