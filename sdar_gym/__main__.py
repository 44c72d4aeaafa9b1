"""`python -m sdar_gym` is the command line."""

from sdar_gym.cli import main

if __name__ == "__main__":
    main()
