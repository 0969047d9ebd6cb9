"""`python -m deal_sdk.cli` is `dealctl`."""

from deal_sdk.cli import main

if __name__ == "__main__":
    main()
