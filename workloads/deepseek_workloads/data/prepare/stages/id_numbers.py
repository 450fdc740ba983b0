"""Numbers that name a person, told from other digits by what their standards say. Pure."""

import datetime
import re

# How numbers of the networks that people's cards are of begin (ISO/IEC 7812), and how many digits they have.
_NETWORKS = (
    (re.compile("4"), (13, 16, 19)),  # Visa
    (re.compile("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),  # Mastercard
    (re.compile("3[47]"), (15,)),  # American Express
    (re.compile("30[0-5]|3[689]"), (14, 16, 19)),  # Diners Club
    (re.compile("35(?:2[89]|[3-8])"), (16, 17, 18, 19)),  # JCB
    (re.compile("6|8[12]|508|220[0-4]"), (16, 17, 18, 19)),  # UnionPay, Discover, Maestro, RuPay, Mir
    (re.compile("5[06-9]"), (16, 19)),  # Maestro, Elo, Verve
)
_CHINA_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHINA_CHECK = "10X98765432"
_CHINA_BIRTHS = range(1880, 2100)


def is_card(number: str) -> bool:
    """Begins as the cards of a network do, is as long, and its check digit holds (Luhn). So the one in ten of
    milliseconds since 1970 whose last digit would do is none: 13 digits that begin with 1."""
    digits = [int(digit) for digit in number if digit.isdigit()]
    compact = "".join(map(str, digits))
    if not any(begin.match(compact) and len(digits) in lengths for begin, lengths in _NETWORKS):
        return False
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_iban(text: str) -> bool:
    """ISO 13616: the remainder by 97 is 1."""
    compact = text.replace(" ", "")
    return int("".join(str(int(letter, 36)) for letter in compact[4:] + compact[:4])) % 97 == 1


def is_china_id(number: str) -> bool:
    """GB 11643: a province, a day of birth from the seventh digit on, and a weighted sum by 11."""
    if number[0] not in "12345678" or not _is_day(int(number[6:10]), int(number[10:12]), int(number[12:14])):
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number, _CHINA_WEIGHTS, strict=False))
    return _CHINA_CHECK[total % 11] == number[-1].upper()


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        return datetime.date(year, month, day).year in _CHINA_BIRTHS
    except ValueError:
        return False
