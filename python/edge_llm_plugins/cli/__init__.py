"""The command `edge-llm-plugins`: main.py lists its commands, each a module here."""
