"""What a study costs, what a change would rerun, and what its budget can show: before anything runs, without torch."""
