"""Requests no two of which are alike in shape: how many documents, and how many
words each has. What grows with every new shape shows itself over many."""

import random


def distinct_shapes(n, most_documents, longest, seed=1):
    """n tuples of numbers of words, sorted, no two equal; short ones are more
    frequent, as in real collections. The first is the largest that there can
    be, so that a peak is reached at once."""
    chance = random.Random(seed)
    seen = {(longest,) * most_documents}
    yield from seen
    while len(seen) < n:
        shape = tuple(sorted(
            round(longest ** chance.random())
            for _ in range(chance.randint(1, most_documents))))
        if shape not in seen:
            seen.add(shape)
            yield shape
