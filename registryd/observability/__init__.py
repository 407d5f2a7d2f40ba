"""How the agent reports on itself: metrics and logs."""
