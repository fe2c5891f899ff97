"""Which node is to blame when two artefacts of one network differ: the first whose output departs, by bisection.

`networks` runs parts of a file, `matching` says which values two files share, `distance` how far they are apart,
`search` narrows down where they depart, `blame` proves it, and `bisection` opens what a user names
and puts these together.
"""
