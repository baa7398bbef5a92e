"""
``python -m fraudstream``: the console command.
"""

from fraudstream.cli.main import run

if __name__ == "__main__":
    run()
