"""`python -m affirm_assets`: the `affirm` command where this package is not installed, as in the image."""

from affirm_assets.cli import main

if __name__ == "__main__":
    main()
