"""Example specs; `rebatch init` writes them into a folder."""
