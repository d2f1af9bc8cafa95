"""What a study has so far: the table of its metrics, the status of its jobs, and what can be deleted."""
