"""The report as one HTML page without scripts or links. Pure; everything from documents is escaped."""

import base64
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Preparation report</title>
<style>
body { font: 14px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; color: #222 }
table { border-collapse: collapse }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
pre { white-space: pre-wrap; background: #f6f6f6; padding: .6rem }
</style></head><body>
<h1>Preparation report</h1>
<p>{{ report.records }} records were read, {{ report.bad_records }} could not be used,
{{ report.empty_documents }} had no text; the dataset has {{ report.documents }} documents
{%- if report.augmented_documents %}, of them {{ report.augmented_documents }} made copies{% endif %}.</p>
<h2>Stages</h2>
<table><tr><th>stage</th><th>documents in</th><th>out</th><th>bytes in</th><th>out</th><th>changed</th>
<th>not treated</th></tr>
{%- for stage in report.stages %}
<tr><td>{{ stage.name }}</td><td>{{ stage.documents_in }}</td><td>{{ stage.documents_out }}</td>
<td>{{ "" if stage.bytes_in is none else stage.bytes_in }}</td>
<td>{{ "" if stage.bytes_out is none else stage.bytes_out }}</td><td>{{ stage.changed }}</td>
<td>{{ stage.refused }}</td></tr>
{%- endfor %}
</table>
{%- for stage in report.stages if stage.evaluation_items %}
<p>{{ stage.name }}: of {{ stage.evaluation_items["items"] }} items of evaluation sets,
{{ stage.evaluation_items.matched_whole }} were looked for as a whole, and
{{ stage.evaluation_items.too_short }}, too short for that, not at all.</p>
{%- endfor %}
{%- for name, image in images.items() %}
<h2>{{ name | capitalize }}</h2>
<p><img alt="{{ name }}" src="data:image/png;base64,{{ image }}"></p>
{%- endfor %}
<h2>What was dropped</h2>
{%- for stage in report.stages if stage.dropped %}
<h3>{{ stage.name }}</h3>
<ul>{% for reason, count in stage.dropped.items() %}<li>{{ reason }}: {{ count }}</li>{% endfor %}</ul>
{%- for sample in stage.samples %}
<p>{{ sample.reason }} {{ sample.detail }}</p>
<pre>{{ sample.text }}</pre>
{%- endfor %}
{%- else %}
<p>Nothing.</p>
{%- endfor %}
</body></html>
"""


def render_page(report: Mapping[str, Any], images: Mapping[str, bytes]) -> bytes:
    """`report`: the fields of a PreparationReport; `images`: PNG files by what they show."""
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_PAGE)
    encoded = {name: base64.b64encode(image).decode() for name, image in images.items()}
    return template.render(report=report, images=encoded).encode()
