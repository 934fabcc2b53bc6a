"""Units that start a spec's jobs when they are due, without `rebatch serve`: of systemd, cron, GitHub Actions, Kubernetes."""
