"""A package with this file, because python-hcl2 installs one that is called ``cli`` too: of two
packages, the one without such a file is never found."""
