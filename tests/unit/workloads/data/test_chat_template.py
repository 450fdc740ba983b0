"""Prompts of a chat: by the export's own template, in a sandbox, or by the plain one."""

import pytest

from deepseek_workloads.data.chat_template import TemplateError, chat_template_of

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


def test_an_export_without_a_template_gets_a_line_for_each_message() -> None:
    assert chat_template_of({}).render(MESSAGES) == "system: Be brief.\nuser: Hi\nassistant:"


def test_the_exports_template_sees_its_special_tokens() -> None:
    template = chat_template_of(
        {
            "bos_token": {"content": "<s>"},
            "eos_token": "</s>",
            "chat_template": "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
            "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
        }
    )

    assert template.render(MESSAGES) == "<s><system>Be brief.</s><user>Hi</s><assistant>"


def test_of_several_templates_the_default_is_taken() -> None:
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]

    assert chat_template_of({"chat_template": named}).render(MESSAGES) == "plain"


def test_a_template_may_refuse_messages() -> None:
    template = chat_template_of({"chat_template": "{{ raise_exception('no system message here') }}"})

    with pytest.raises(TemplateError, match="no system message here"):
        template.render(MESSAGES)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{% set x = messages.append({}) %}",
    ],
)
def test_a_template_reaches_nothing_but_its_input(source: str) -> None:
    template = chat_template_of({"chat_template": source})

    with pytest.raises(TemplateError):
        template.render(MESSAGES)


def test_what_is_no_template_is_refused_when_it_is_loaded() -> None:
    with pytest.raises(TemplateError, match="tokenizer_config"):
        chat_template_of({"chat_template": "{% for"})
