"""`python -m normlab`."""

from normlab.cli.app import main

if __name__ == "__main__":
    main()
