"""``python -m afa_bench``: the same as the command ``afa-bench``."""

from afa_bench.cli import main

if __name__ == "__main__":
    main()
