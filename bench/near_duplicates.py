"""Groups of near-duplicates by the exact Jaccard similarity of all pairs, and how well others match. Pure.

Nothing here is shared with what is measured, except how a text is cut into shingles.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from deepseek_workloads.data.prepare.shingles import shingles_of

Groups = Sequence[Sequence[int]]


def exact_groups(texts: Sequence[str], *, n: int, threshold: float) -> list[list[int]]:
    """Connected components of the pairs whose n-grams of words are as similar as that."""
    sets = [shingles_of(text, n=n) for text in texts]
    holders: dict[str, list[int]] = defaultdict(list)
    group_of = list(range(len(texts)))
    for number, shingles in enumerate(sets):
        shared = Counter(other for shingle in shingles for other in holders[shingle])
        for other, count in shared.items():
            if count / (len(shingles) + len(sets[other]) - count) >= threshold:
                _join(group_of, number, other)
        for shingle in shingles:
            holders[shingle].append(number)
    groups: dict[int, list[int]] = defaultdict(list)
    for number in range(len(texts)):
        groups[_root(group_of, number)].append(number)
    return list(groups.values())


def recall_and_precision(found: Groups, truth: Groups) -> tuple[float, float]:
    """Of the pairs of documents that share a group. 1 of nothing."""
    true_group = {number: at for at, group in enumerate(truth) for number in group}
    common = sum(_pairs(Counter(true_group[number] for number in group).values()) for group in found)
    found_pairs, true_pairs = _pairs(map(len, found)), _pairs(map(len, truth))
    return common / true_pairs if true_pairs else 1.0, common / found_pairs if found_pairs else 1.0


def _pairs(sizes: Iterable[int]) -> int:
    return sum(size * (size - 1) // 2 for size in sizes)


def _join(group_of: list[int], one: int, other: int) -> None:
    group_of[_root(group_of, one)] = _root(group_of, other)


def _root(group_of: list[int], number: int) -> int:
    while group_of[number] != number:
        group_of[number] = group_of[group_of[number]]
        number = group_of[number]
    return number
