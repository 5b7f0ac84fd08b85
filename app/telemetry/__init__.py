"""What is known of every request: metrics, logs, traces."""
