"""
The console command: options and environment in, exit code out.
"""
