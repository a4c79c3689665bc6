"""The command `edge-llm-plugins`: each module but `main` and `command` is one of its commands."""
