"""From the settings of a record stage to its function. The one place that names them all."""

from deepseek_workloads.contract import augmentation, pipeline
from deepseek_workloads.data.prepare.stages import (
    cleaning,
    entities,
    garbled,
    language,
    parallel,
    pii,
    quality,
    repetition,
    synonyms,
)
from deepseek_workloads.data.prepare.stages.contract import RecordStage


def record_stage(settings: pipeline.RecordSettings) -> RecordStage:
    match settings:
        case pipeline.RepairEncoding():
            return cleaning.repair_encoding(settings)
        case pipeline.NormalizeUnicode():
            return cleaning.normalize_unicode(settings)
        case pipeline.Truncate():
            return cleaning.truncate(settings)
        case pipeline.IdentifyLanguage():
            return language.identify_language(settings)
        case pipeline.FilterLength():
            return garbled.filter_length(settings)
        case pipeline.FilterGarbled():
            return garbled.filter_garbled(settings)
        case pipeline.GopherQuality():
            return quality.gopher_quality(settings)
        case pipeline.C4Quality():
            return quality.c4_quality(settings)
        case pipeline.FineWebQuality():
            return quality.fine_web_quality(settings)
        case pipeline.FilterRepetition():
            return repetition.filter_repetition(settings)
        case pipeline.FilterBleu():
            return parallel.filter_bleu(settings)
        case pipeline.RedactPii():
            return pii.redact_pii(settings)
        case pipeline.AnnotateEntities():
            return entities.annotate_entities(settings)
        case augmentation.ReplaceSynonyms():
            return synonyms.replace_synonyms(settings)
