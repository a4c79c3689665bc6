"""The version of everything that this repository releases: library, wheel and archives."""

VERSION = "0.1.0"
