"""class names that differ only by case, by punctuation, or by a slip of the pen

Two names for one class split its photos in two, and a network is asked to tell apart what is the same. Merge the two
where they mean the same; leave them where they are kinds of their own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue

SAME_LETTERS = 0.95
"""Score of names of the same letters in the same order: black_swan, Black-Swan."""

SAME_WORDS = 0.7
"""Score of names of the same words in another order, or of which one is the plural: rose, roses."""

SHORTEST = 5
"""Letters that a word must have for one wrong letter to count as a slip; 'swan' and 'stan', 'tern' and 'term' are
words of their own."""

SLIP = 2.5
"""A slip in a word of n letters scores 1 - SLIP / n: 0.5 at SHORTEST, 0.72 in 'cormarant'."""

SLIPS = 2
"""Words of a name in which a slip may be."""

BLOCK = 512


@check()
def alike_names(evidence: Evidence) -> Iterator[Issue]:
    """One issue for each pair of class names that may mean the same class.

    To merge is suggested only for names of the same letters; slips and plurals may be species of their own. Names in
    which figures differ, such as 'lot 12' and 'lot 13', are never alike.
    """
    names = list(evidence.classes)
    words = [_words(name) for name in names]
    for one, other in _candidates(["".join(its) for its in words]):
        score, how = _likeness(words[one], words[other])
        if score == 0.0:
            continue
        # The class of more photos keeps its name; among equals the one that sorts first.
        less, more = sorted((one, other), key=lambda number: (len(evidence.classes[names[number]]), -number))
        counts = f"{len(evidence.classes[names[more]])} and {len(evidence.classes[names[less]])} photos"
        message = f"the classes '{names[more]}' and '{names[less]}' ({counts}) {how}"
        if score < SAME_LETTERS:
            yield Issue("alike-names", (), score, message)
            continue
        targets = tuple(evidence.photos[number].path for number in evidence.classes[names[less]])
        yield Issue("alike-names", (), score, message, "merge", targets, names[more])


def _words(name: str) -> tuple[str, ...]:
    """The words of a name: lower case, without accents, apostrophes and punctuation."""
    plain = unicodedata.normalize("NFKD", re.sub(r"['’]", "", name)).casefold()
    letters = "".join(sign for sign in plain if not unicodedata.combining(sign))
    return tuple(re.findall(r"[^\W_]+", letters))


def _candidates(keys: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs whose letters, counted without regard to order, differ in at most 2 * SLIPS: the rest cannot be alike."""
    counts = np.zeros((len(keys), 64), np.int16)
    for number, key in enumerate(keys):
        for sign in key:
            counts[number, ord(sign) % 64] += 1
    for start in range(0, len(keys), BLOCK):
        block = counts[start : start + BLOCK]
        apart = np.zeros((len(block), len(keys)), np.int16)
        for letter in np.flatnonzero(counts.any(axis=0)):
            apart += np.abs(block[:, letter, None] - counts[None, :, letter])
        for row, column in np.argwhere(apart <= 2 * SLIPS).tolist():
            if start + row < column:
                yield start + row, column


def _likeness(one: Sequence[str], other: Sequence[str]) -> tuple[float, str]:
    """How sure it is that two names mean the same, and how they differ; 0 where they are names of their own."""
    if "".join(one) == "".join(other):
        return (SAME_LETTERS, "differ only in case, punctuation, spaces or accents") if one else (0.0, "")
    if sorted(one) == sorted(other):
        return SAME_WORDS, "have the same words in another order"
    if len(one) != len(other):
        return 0.0, ""
    changed = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
    if len(changed) == 1 and _is_plural(*sorted(changed[0], key=len)):
        return SAME_WORDS, "differ in singular and plural"
    shortest = min(min(len(a), len(b)) for a, b in changed)
    if len(changed) > SLIPS or shortest < SHORTEST or not all(_is_slip(a, b) for a, b in changed):
        return 0.0, ""
    return 1.0 - SLIP / shortest, "differ by a letter" if len(changed) == 1 else "differ by a letter in two words"


def _is_plural(one: str, many: str) -> bool:
    return len(one) >= 3 and many in (f"{one}s", f"{one}es", f"{one[:-1]}ies" if one.endswith("y") else "")


def _is_slip(one: str, other: str) -> bool:
    """Whether one letter was changed, left out, added, or swapped with its neighbor. Figures are never slips."""
    if any(sign.isdigit() for sign in one + other):
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    rest, its_rest = one[start:], other[start:]
    return (
        rest[1:] == its_rest[1:]
        or rest[1:] == its_rest
        or rest == its_rest[1:]
        or (rest[:2] == its_rest[1::-1] and rest[2:] == its_rest[2:])
    )
