"""What the agent says of itself: metrics and logs."""
