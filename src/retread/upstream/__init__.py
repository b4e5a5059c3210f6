"""What upstream published since, and what that means for the recipes."""
