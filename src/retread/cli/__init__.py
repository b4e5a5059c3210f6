"""The command line: a file for each noun, with its options and what they do."""
