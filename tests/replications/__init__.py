"""What the pages of docs/replications are made with: `python -m tests.replications.NAME`."""
