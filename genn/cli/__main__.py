"""``python -m genn.cli``, for a checkout that is not installed."""

from genn.cli import main

if __name__ == "__main__":
    main()
