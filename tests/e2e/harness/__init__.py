"""What the e2e tests share: kubectl, waiting with a deadline, kills, and what a run left in S3."""
