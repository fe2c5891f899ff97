"""`python -m ccdeploy` is the command `ccdeploy`."""

from ccdeploy.commands import main

if __name__ == "__main__":
    main()
