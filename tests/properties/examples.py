"""How property tests draw: the same few examples in every run, or as many new ones as asked for."""

from __future__ import annotations

import os

from hypothesis import Phase, settings

_COUNT = "EDGE_LLM_TEST_EXAMPLES"


def examples(usual: int) -> settings:
    """The settings of a test that draws `usual` examples, or $EDGE_LLM_TEST_EXAMPLES new ones."""
    count = os.environ.get(_COUNT)
    return settings(
        max_examples=int(count or usual),
        derandomize=count is None,
        phases=(Phase.generate, Phase.shrink),
        print_blob=True,
        database=None,
        deadline=None,
    )
