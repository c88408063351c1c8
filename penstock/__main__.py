"""``python -m penstock``: the command line, also how a mount starts its daemon."""

from penstock.cli.entry import main

if __name__ == "__main__":
    main()
