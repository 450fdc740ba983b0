"""Each kind of record stage, by what it keeps, changes and drops."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract import pipeline
from deepseek_workloads.data.prepare.documents import Document
from deepseek_workloads.data.prepare.stages.contract import Dropped
from deepseek_workloads.data.prepare.stages.registry import record_stage
from deepseek_workloads.data.prepare.stages.repetition import duplicate_ngram_share, top_ngram_share
from deepseek_workloads.data.prepare.stages.words import comparable_words, words_of

PROSE = (
    "The operator watches the resource and compares it with the pods that have been created. When a node is "
    "lost, a replacement is made under another name, so that nothing waits for the old one. Training goes on "
    "from the newest checkpoint, with the same order of samples, to the end of the schedule.\n"
    "A service takes the finished model and answers requests with it. The rollout begins with a check of its "
    "own, and of the two revisions only one is asked by the users of that service.\n"
)
CHINESE = (
    "操作员观察资源，并与已创建的容器进行比较。当节点丢失时，会以另一个名称创建替代者，因此没有任何东西等待旧的。"
    "训练从最新的检查点继续，样本顺序相同，直到计划结束。完成后的模型由服务加载并回答请求。"
)


def _outcome(settings, text, language=""):
    return record_stage(settings)(Document(text, language))


def _text(settings, text):
    outcome = _outcome(settings, text)
    assert isinstance(outcome, Document), outcome
    return outcome.text


def _reason(settings, text, language=""):
    outcome = _outcome(settings, text, language)
    assert isinstance(outcome, Dropped), outcome
    return outcome.reason


JUDGES = [
    pipeline.GopherQuality(),
    pipeline.FineWebQuality(),
    pipeline.FilterRepetition(),
    pipeline.FilterGarbled(),
    pipeline.FilterLength(),
]
STAGES = [*JUDGES, pipeline.C4Quality(), pipeline.RepairEncoding(), pipeline.RedactPii()]


@pytest.mark.parametrize("settings", JUDGES, ids=lambda settings: type(settings).__name__)
@pytest.mark.parametrize("text", [PROSE, CHINESE], ids=["English", "Chinese"])
def test_prose_passes_unchanged(settings, text) -> None:
    assert _text(settings, text) == text


@pytest.mark.parametrize("settings", STAGES, ids=lambda settings: type(settings).__name__)
@given(text=st.text(max_size=200))
def test_every_stage_takes_any_text(settings, text) -> None:
    assert isinstance(_outcome(settings, text), Document | Dropped)


@pytest.mark.parametrize("settings", JUDGES, ids=lambda settings: type(settings).__name__)
@given(text=st.text("ab. \n你", max_size=300))
def test_what_only_judges_changes_nothing(settings, text) -> None:
    outcome = _outcome(settings, text)
    assert isinstance(outcome, Dropped) or outcome == Document(text)


@pytest.mark.parametrize(
    ("settings", "text", "reason"),
    [
        (pipeline.GopherQuality(), "Too short.", "wordCount"),
        (pipeline.GopherQuality(), "# " * 60 + PROSE, "symbolToWordRatio"),
        (pipeline.GopherQuality(), "12 34 " * 100 + PROSE, "alphabeticWordShare"),
        (pipeline.GopherQuality(), "a b c d " * 30, "meanWordLength"),
        (pipeline.GopherQuality(), "wir sehen jeden Tag viele Menschen " * 20, "stopWords"),
        (pipeline.GopherQuality(), "\n".join(f"- {PROSE[:60]}" for _ in range(10)), "bulletLineShare"),
        (pipeline.GopherQuality(), "\n".join(f"{PROSE[:60]}..." for _ in range(10)), "ellipsisLineShare"),
        (pipeline.C4Quality(), f"{PROSE}Lorem ipsum dolor sit amet.", "loremIpsum"),
        (pipeline.C4Quality(), f"{PROSE}function () {{", "curlyBracket"),
        (pipeline.C4Quality(), "One sentence that is alone.", "sentences"),
        (pipeline.FineWebQuality(), "a line without an end\n" * 10, "punctuatedLineShare"),
        (pipeline.FineWebQuality(), "".join(f"Short {n}.\n" for n in range(10)), "shortLineShare"),
        (pipeline.FineWebQuality(), (PROSE[:90] + ".\n") * 4, "duplicateLineCharacterShare"),
        (pipeline.FilterRepetition(), "the same line\n" * 5, "duplicateLineShare"),
        (pipeline.FilterRepetition(), "buy now " * 40, "top2GramShare"),
        (pipeline.FilterGarbled(), "\ufffd" * 5 + PROSE[:50], "replacementShare"),
        (pipeline.FilterGarbled(), "\x00\x01" * 5 + PROSE[:50], "controlShare"),
        (pipeline.FilterGarbled(), "=|=|=-- *** " * 20, "letterShare"),
        (pipeline.FilterLength(min_characters=10), "short", "characterCount"),
        (pipeline.FilterLength(max_words=3), "one two three four", "wordCount"),
    ],
)
def test_what_breaks_a_rule_is_dropped_by_its_name(settings, text, reason) -> None:
    assert _reason(settings, text) == reason


def test_stop_words_are_asked_of_english_only() -> None:
    german = "Der Betreiber beobachtet jede Ressource und vergleicht sie mit vorhandenen Behältern. " * 8
    assert isinstance(_outcome(pipeline.GopherQuality(), german, "de"), Document)
    assert _reason(pipeline.GopherQuality(), german, "en") == "stopWords"


def test_c4_removes_lines_that_are_no_prose() -> None:
    noise = "Home | About | Contact\nPlease enable JavaScript to see this page.\n"
    assert _text(pipeline.C4Quality(min_sentences=3), noise + PROSE) == PROSE.strip("\n")


def test_broken_encodings_are_mended_and_typography_stays() -> None:
    assert _text(pipeline.RepairEncoding(), "lâ€™humanitÃ© est prÃªte") == "l’humanité est prête"
    for text in ("“quoted” ﬁne ＡＢＣ", "a &lt; b", PROSE, CHINESE):
        assert _text(pipeline.RepairEncoding(), text) == text


def test_languages_are_told_and_others_dropped() -> None:
    both = pipeline.IdentifyLanguage(keep=["en", "zh"])
    assert _outcome(both, PROSE).language == "en"
    assert _outcome(both, CHINESE).language == "zh"
    german = "Der Betreiber beobachtet die Ressource und vergleicht sie mit den vorhandenen Behältern."
    assert _reason(both, german) == "de"
    assert _reason(both, "1 2 3") == "unknown"


def test_the_language_that_a_record_names_is_believed() -> None:
    for named in ("fr", "fr-CA", "FR_ca"):
        assert _outcome(pipeline.IdentifyLanguage(keep=["fr"]), PROSE, named).language == "fr"


def test_a_name_that_is_no_code_of_a_language_is_not() -> None:
    assert _outcome(pipeline.IdentifyLanguage(keep=["en"]), PROSE, "Englisch").language == "en"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Write to anna.b+x@mail.example.org, or not.", "Write to <EMAIL>, or not."),
        ("It answers from 93.184.216.34:80.", "It answers from <IP_ADDRESS>:80."),
        ("or from 2606:2800:220:1:248:1893:25c8:1946 today", "or from <IP_ADDRESS> today"),
        ("SSN 123-45-6789", "SSN <ID_NUMBER>"),
        ("card 4111 1111 1111 1111", "card <ID_NUMBER>"),
        ("DE89 3704 0044 0532 0130 00", "<ID_NUMBER>"),
        ("身份证 11010519491231002X。", "身份证 <ID_NUMBER>。"),
        ("call +49 30 1234567 soon", "call <PHONE> soon"),
        ("card 4111 1111 1111 1111 12/28", "card <ID_NUMBER> 12/28"),
        ("12 4111-1111-1111-1111 and 378282246310005", "12 <ID_NUMBER> and <ID_NUMBER>"),
        ("the version of the host 93.184.216.34", "the version of the host <IP_ADDRESS>"),
        ("server 93.184.216.34", "server <IP_ADDRESS>"),
        ("请发邮件到zhang.san@qq.com，谢谢", "请发邮件到<EMAIL>，谢谢"),
        ("请发到zhang.san@qq.com谢谢", "请发到<EMAIL>谢谢"),
        ("メールはtaro@example.jpまで", "メールは<EMAIL>まで"),
        ("메일은hong@example.kr로 보내세요", "메일은<EMAIL>로 보내세요"),
        ("身份证号11010519491231002X，", "身份证号<ID_NUMBER>，"),
        ("身份证11010519491231002X号", "身份证<ID_NUMBER>号"),
        ("卡号4111111111111111已", "卡号<ID_NUMBER>已"),
        ("账号DE89370400440532013000的", "账号<ID_NUMBER>的"),
        ("番号123-45-6789です", "番号<ID_NUMBER>です"),
        ("地址93.184.216.34的", "地址<IP_ADDRESS>的"),
        ("地址2606:2800:220:1:248:1893:25c8:1946的", "地址<IP_ADDRESS>的"),
        ("电话+8613812345678。", "电话<PHONE>。"),
        ("电话+8613812345678吧", "电话<PHONE>吧"),
        ("卡号４１１１１１１１１１１１１１１１。", "卡号<ID_NUMBER>。"),
        ("身份证１１０１０５１９４９１２３１００２Ｘ。", "身份证<ID_NUMBER>。"),
        ("邮箱ｔａｒｏ＠ｅｘａｍｐｌｅ．ｊｐ：Ａ", "邮箱<EMAIL>：Ａ"),
    ],
)
def test_what_names_a_person_becomes_a_placeholder(text, redacted) -> None:
    assert _text(pipeline.RedactPii(), text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "version 1.2.3.4.5 of 2026-11-22 12:30:00",
        "version 1.2.3.4, v1.2.3.4, Version: 1.2.3.4",
        "see section 4.3.2.1, 版本1.2.3.4, 版本v1.2.3.4, バージョン 1.2.3.4",
        "at 1700000000004 ms",
        "身份证110105194913310005",
        "bind 127.0.0.1 and 10.0.0.1, or ::1",
        "a decorator @functools.cache and user@localhost",
        "4111 1111 1111 1112 has a wrong check digit",
        "std::vector and a::b",
        "pi is 3.14159265358979 and 1000000 is a million",
    ],
)
def test_what_only_looks_like_it_stays(text) -> None:
    assert _text(pipeline.RedactPii(), text) == text


@given(st.integers(1_000_000_000, 1_999_999_999), st.sampled_from([3, 6, 9]), st.integers(0, 999))
def test_times_since_1970_are_no_numbers_of_people(seconds, places, fraction) -> None:
    text = f"at {seconds}{fraction:03}{'0' * (places - 3)}"
    assert _text(pipeline.RedactPii(kinds=["idNumber"]), text) == text


def test_national_phone_numbers_need_their_region() -> None:
    text = "Reach us at (212) 555-2368."
    assert _text(pipeline.RedactPii(), text) == text
    assert _text(pipeline.RedactPii(phone_regions=["US", "CA"]), text) == "Reach us at <PHONE>."


@given(st.text(string.ascii_letters + string.digits + " .@:-+\n", max_size=200))
def test_redacting_twice_is_redacting_once(text) -> None:
    once = _text(pipeline.RedactPii(), text)
    assert _text(pipeline.RedactPii(), once) == once


@given(st.text(min_size=1, max_size=60), st.integers(1, 30), st.floats(0, 1))
def test_truncation_keeps_what_its_policy_says(text, limit, share) -> None:
    def cut(policy):
        settings = pipeline.Truncate(max_characters=limit, policy=policy, head_share=share)
        outcome = _outcome(settings, text)
        return [outcome.text] if isinstance(outcome, Document) else [each.text for each in outcome]

    assert cut("head") == [text[:limit]]
    assert cut("tail") == [text[-limit:]]
    [both] = cut("headAndTail")
    assert len(both) == min(len(text), limit)
    head = round(limit * share)
    assert both == text if len(text) <= limit else both.startswith(text[:head])
    pieces = cut("split")
    assert "".join(pieces) == text
    assert all(len(piece) <= limit for piece in pieces)


WORDS = st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=30)


@given(WORDS, st.integers(2, 6))
def test_shares_of_ngrams_are_shares(words, n) -> None:
    for measured in (top_ngram_share, duplicate_ngram_share):
        assert 0 <= measured(words, n=n) <= 1


@given(st.integers(2, 6), st.integers(1, 20))
def test_words_that_never_repeat_have_no_share(n, count) -> None:
    words = [f"w{number}" for number in range(count)]
    assert (top_ngram_share(words, n=n), duplicate_ngram_share(words, n=n)) == (0, 0)


def test_overlapping_ngrams_cover_their_words_once() -> None:
    assert top_ngram_share(["ha"] * 10, n=2) == 1
    assert duplicate_ngram_share(["ha"] * 10, n=5) == pytest.approx(9 / 10)


@given(WORDS, st.integers(5, 9))
def test_longer_ngrams_never_repeat_more_than_shorter_ones(words, n) -> None:
    """So that with one limit for all lengths the shortest decides."""
    assert duplicate_ngram_share(words, n=n + 1) <= duplicate_ngram_share(words, n=n)


@given(WORDS, st.floats(0, 1))
def test_a_document_goes_when_any_ngram_rule_is_broken(words, limit) -> None:
    """Also by those rules that the filter does not need to compute."""
    settings = pipeline.FilterRepetition(
        max_top_ngram_share=limit,
        max_duplicate_ngram_share=limit,
        max_duplicate_line_share=1,
        max_duplicate_paragraph_share=1,
    )
    top = [top_ngram_share(words, n=n) for n in (2, 3, 4)]
    duplicate = [duplicate_ngram_share(words, n=n) for n in range(5, 11)]
    goes = isinstance(_outcome(settings, " ".join(words)), Dropped)
    assert goes == any(value > limit for value in [*top, *duplicate])


@given(st.text(st.characters(codec="ascii") | st.sampled_from(" \t\n\x1c\x1f\x0b")))
def test_words_of_ascii_are_cut_as_those_of_other_texts(text) -> None:
    assert words_of(text) == words_of(f"{text} \u00e4")[:-1]


def test_words_of_scripts_without_spaces_are_characters() -> None:
    assert words_of("训练 starts, 然后") == ["训", "练", "starts,", "然", "后"]
    assert comparable_words("Ｔhe “END”, 训。") == ["the", "end", "训"]
