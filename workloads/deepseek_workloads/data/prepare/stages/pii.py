"""The stage redactPii: addresses and numbers that name a person become placeholders. Pure.

Patterns find candidates; a checksum, a parser or what stands before confirms them, so that versions, dates
and prices stay. What it cannot find: names, postal addresses, anything obfuscated.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from phonenumbers import Leniency, PhoneNumberMatcher

from deepseek_workloads.contract.pipeline import PiiKind, RedactPii
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.stages.contract import RecordStage
from deepseek_workloads.data.prepare.stages.id_numbers import is_card, is_china_id, is_iban
from deepseek_workloads.data.prepare.stages.words import SPACELESS

Redact = Callable[[str], str]
Found = Callable[[re.Match[str]], tuple[int, int] | None]  # the part of a match that goes; None: it stays
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
_DIGITS = re.compile(r"\d+")
_CARD = re.compile(rf"(?<!{_LETTER})(?<!-)\d(?:[ -]?\d){{12,18}}(?!{_LETTER}|-)")
_IBAN = re.compile(
    rf"(?<!{_LETTER})[A-Z]{{2}}\d{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?(?!{_LETTER})"
)
_CHINA_ID = re.compile(rf"(?<!{_LETTER})\d{{17}}[\dXx](?!{_LETTER})")
# What stands before a version or the number of a section, which may look like an address.
_NUMBERED = re.compile(
    r"(?:(?<![A-Za-z])(?:v|ver|versions?|rel|releases?|rev|revision|build|firmware|sec|section|chapter|clause)[.:=]?"
    r"|§|版本号?|バージョン|버전)[：:]?\s*$",
    re.IGNORECASE,
)
_NUMBERED_CHARACTERS = 16  # that are looked at
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


def _replaced(text: str, pattern: re.Pattern[str], placeholder: str, found: Found = re.Match.span) -> str:
    """What is `found` in each match as the placeholder; full-width characters are matched as their usual
    forms."""
    searched = text.translate(_HALF_WIDTH) if not text.isascii() and _FULL_WIDTH.search(text) else text
    pieces, kept = [], 0
    for span in map(found, pattern.finditer(searched)):
        if span is not None:
            pieces += [text[kept : span[0]], placeholder]
            kept = span[1]
    return "".join([*pieces, text[kept:]]) if pieces else text


def _redact_addresses(text: str) -> str:
    text = _replaced(text, _IPV4, "<IP_ADDRESS>", _address)
    return _replaced(text, _IPV6, "<IP_ADDRESS>", _address) if "::" in text or text.count(":") > 6 else text


def _address(match: re.Match[str]) -> tuple[int, int] | None:
    """Only those that reach a person's machine: 127.0.0.1 and 10.0.0.1 are in every manual, a::b is rather
    C++ than an address, and 1.2.3.4 after "version" is none."""
    if ":" in match[0]:
        other = len(list(filter(None, match[0].split(":")))) < 4
    else:
        start = match.start()
        before = match.string[max(0, start - _NUMBERED_CHARACTERS) : start]
        other = _NUMBERED.search(before) is not None
    try:
        return match.span() if not other and ipaddress.ip_address(match[0]).is_global else None
    except ValueError:
        return None


def _redact_id_numbers(text: str) -> str:
    text = _replaced(text, _US_SSN, "<ID_NUMBER>")
    for pattern, holds in ((_CHINA_ID, is_china_id), (_IBAN, is_iban)):
        text = _replaced(text, pattern, "<ID_NUMBER>", partial(_confirmed, holds))
    return _replaced(text, _CARD, "<ID_NUMBER>", _card)


def _confirmed(holds: Callable[[str], bool], match: re.Match[str]) -> tuple[int, int] | None:
    return match.span() if holds(match[0]) else None


def _card(match: re.Match[str]) -> tuple[int, int] | None:
    """Of groups of digits those that are the card's: others stand beside it, such as its last month."""
    groups = [group.span() for group in _DIGITS.finditer(match[0])]
    for first, (start, _) in enumerate(groups):
        for _, end in reversed(groups[first:]):
            if is_card(match[0][start:end]):
                return match.start() + start, match.start() + end
    return None


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
