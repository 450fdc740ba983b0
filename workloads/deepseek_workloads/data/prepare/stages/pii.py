"""The stage redactPii: addresses and numbers that name a person become placeholders. Pure.

Patterns find candidates, a checksum or a parser confirms them, so that versions, dates and prices stay. What
it cannot find: names, postal addresses, anything obfuscated.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import replace

from phonenumbers import Leniency, PhoneNumberMatcher

from deepseek_workloads.contract.pipeline import PiiKind, RedactPii
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.stages.contract import RecordStage
from deepseek_workloads.data.prepare.stages.words import SPACELESS

Redact = Callable[[str], str]
# A letter, digit or underscore of a script that puts spaces beside words: Chinese, Japanese and Thai do not,
# and Korean particles follow a word at once.
_LETTER = rf"[^\W{SPACELESS}\u1100-\u11ff\uac00-\ud7af]"
_NAME = rf"(?:{_LETTER}|[.+-])"
_EMAIL = re.compile(
    rf"(?<!{_LETTER})(?<![.+-])[A-Za-z0-9]{_NAME}{{0,63}}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{{0,62}})\.){{1,8}}[A-Za-z]{{2,24}}"
    rf"(?!{_LETTER}|-)"
)
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)")
_IPV6 = re.compile(rf"(?<!{_LETTER})(?<![:.])(?:[0-9A-Fa-f]{{0,4}}:){{2,7}}[0-9A-Fa-f]{{0,4}}(?!{_LETTER}|:)")
_US_SSN = re.compile(
    rf"(?<!{_LETTER})(?<!-)(?!000|666|9\d\d)\d{{3}}-(?!00)\d{{2}}-(?!0000)\d{{4}}(?!{_LETTER}|-)"
)
_CARD = re.compile(rf"(?<!{_LETTER})(?<!-)\d(?:[ -]?\d){{12,18}}(?!{_LETTER}|-)")
_IBAN = re.compile(
    rf"(?<!{_LETTER})[A-Z]{{2}}\d{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?(?!{_LETTER})"
)
_CHINA_ID = re.compile(rf"(?<!{_LETTER})\d{{17}}[\dXx](?!{_LETTER})")
_CHINA_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHINA_CHECK = "10X98765432"
# As East Asian keyboards write addresses and numbers: one character for one, so that places stay.
_FULL_WIDTH = re.compile("[０-９＠]")
_HALF_WIDTH = {code: code - 0xFEE0 for code in map(ord, "＠．－＋＿０１２３４５６７８９")} | {
    code: code - 0xFEE0 for first in "Ａａ" for code in range(ord(first), ord(first) + 26)
}


def redact_pii(settings: RedactPii) -> RecordStage:
    redactions = [_redaction(kind, settings) for kind in settings.kinds]

    def redact(document: Document) -> Document:
        text = document.text
        for each in redactions:
            text = each(text)
        return replace(document, text=text) if text != document.text else document

    return redact


def _redaction(kind: PiiKind, settings: RedactPii) -> Redact:
    match kind:
        case "email":
            return lambda text: _replaced(text, _EMAIL, "<EMAIL>") if "@" in text or "＠" in text else text
        case "ipAddress":
            return _redact_addresses
        case "idNumber":
            return _redact_id_numbers
        case "phone":
            regions = [None, *settings.phone_regions]
            return lambda text: _redact_phones(text, regions)


def _replaced(
    text: str, pattern: re.Pattern[str], placeholder: str, holds: Callable[[str], bool] = lambda _: True
) -> str:
    """Each match that `holds` as the placeholder; full-width characters are matched as their usual forms."""
    searched = text.translate(_HALF_WIDTH) if not text.isascii() and _FULL_WIDTH.search(text) else text
    pieces, end = [], 0
    for match in pattern.finditer(searched):
        if holds(match[0]):
            pieces += [text[end : match.start()], placeholder]
            end = match.end()
    return "".join([*pieces, text[end:]]) if pieces else text


def _redact_addresses(text: str) -> str:
    text = _replaced(text, _IPV4, "<IP_ADDRESS>", is_address_of_a_person)
    if "::" in text or text.count(":") > 6:
        text = _replaced(text, _IPV6, "<IP_ADDRESS>", is_address_of_a_person)
    return text


def is_address_of_a_person(address: str) -> bool:
    """Only those that reach a person's machine: 127.0.0.1 and 10.0.0.1 are in every manual, and a::b is
    rather C++ than an address."""
    if ":" in address and len(list(filter(None, address.split(":")))) < 4:
        return False
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _redact_id_numbers(text: str) -> str:
    text = _replaced(text, _US_SSN, "<ID_NUMBER>")
    for pattern, holds in ((_CHINA_ID, is_china_id), (_IBAN, is_iban), (_CARD, is_card)):
        text = _replaced(text, pattern, "<ID_NUMBER>", holds)
    return text


def is_card(number: str) -> bool:
    """The check digit of ISO/IEC 7812 (Luhn)."""
    digits = [int(digit) for digit in number if digit.isdigit()]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_iban(text: str) -> bool:
    """ISO 13616: the remainder by 97 is 1."""
    compact = text.replace(" ", "")
    return int("".join(str(int(letter, 36)) for letter in compact[4:] + compact[:4])) % 97 == 1


def is_china_id(number: str) -> bool:
    """GB 11643: a weighted sum by 11."""
    total = sum(int(digit) * weight for digit, weight in zip(number, _CHINA_WEIGHTS, strict=False))
    return _CHINA_CHECK[total % 11] == number[-1].upper()


def _redact_phones(text: str, regions: list[str | None]) -> str:
    """None: numbers with a country code; a region: also those written as it is usual there."""
    if sum(map(str.isdigit, text)) < 7:
        return text
    spans = {
        (found.start, found.end)
        for region in regions
        for found in PhoneNumberMatcher(text, region, leniency=Leniency.VALID)
    }
    free = len(text)  # regions may see one number from different beginnings on
    for start, end in sorted(spans, key=lambda span: (-span[1], span[0])):
        if end <= free:
            text, free = f"{text[:start]}<PHONE>{text[end:]}", start
    return text
