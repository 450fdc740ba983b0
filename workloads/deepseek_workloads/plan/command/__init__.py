"""What `python -m deepseek_workloads.plan` is asked, by which rules, and how it answers. Pure but for the
words that argparse prints."""
