"""The launcher of a checkout: `python cli.py export ...` is `ccdeploy export ...`."""

from ccdeploy.commands import main

if __name__ == "__main__":
    main()
