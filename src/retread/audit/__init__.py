"""What a finished wheel really holds, against what it promises."""
