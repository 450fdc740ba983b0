"""Our shards against Hugging Face's own tokenizer class, loaded from the tokenizer.json that we publish."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from deepseek_workloads.contract.run_config import TokenizerTraining
from deepseek_workloads.data.prepare.encoding import encode_documents
from deepseek_workloads.data.prepare.tokenizer import load_tokenizer, to_document, train_tokenizer

SOURCES = Path(pytest.__file__).parent.parent / "_pytest"


@pytest.fixture(scope="module")
def document() -> bytes:
    texts = [path.read_text(encoding="utf-8") for path in sorted(SOURCES.glob("*.py"))]
    chinese = ["混合专家模型只激活一部分参数。训练时，路由器选择专家。" * 3] * 20
    training = TokenizerTraining(vocab_size=2000)
    return to_document(train_tokenizer(iter(texts + chinese), settings=training, normalization="nfc"))


@pytest.fixture(scope="module")
def reference(document, tmp_path_factory) -> PreTrainedTokenizerFast:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_bytes(document)
    return PreTrainedTokenizerFast(tokenizer_file=str(path), split_special_tokens=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts=st.lists(st.text(max_size=200), min_size=1, max_size=5))
def test_any_text_gets_the_same_ids(texts, document, reference) -> None:
    tokenizer = load_tokenizer(document, name="t")
    ours = [ids.tolist()[:-1] for ids in encode_documents(tokenizer, texts, eos_token_id=1)]
    assert ours == reference(texts, add_special_tokens=False)["input_ids"]


def test_source_code_gets_the_same_ids_and_comes_back(document, reference) -> None:
    tokenizer = load_tokenizer(document, name="t")
    for path in sorted(SOURCES.glob("*.py"))[:20]:
        text = path.read_text(encoding="utf-8")
        [ids] = encode_documents(tokenizer, [text], eos_token_id=1)
        assert ids.tolist()[:-1] == reference(text, add_special_tokens=False)["input_ids"]
        assert reference.decode(ids.tolist()[:-1], clean_up_tokenization_spaces=False) == text
