"""`python -m importer` and the command `lead-importer`."""

from importer.cli import main

if __name__ == "__main__":
    main()
